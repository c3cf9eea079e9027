//! Broker settings of TLS, SASL, tokens and authorization.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use crate::setting::Check::*;

table! { Broker;
    "authorizer.class.name": String = "", ReadOnly, Any, [refused AUTHORIZER],
        "Plug-in that decides who may do what.";
    "delegation.token.expiry.check.interval.ms": Long = "3600000", ReadOnly, Any, [refused SECURITY],
        "How often expired tokens are looked for.";
    "delegation.token.expiry.time.ms": Long = "86400000", ReadOnly, Any, [refused SECURITY],
        "Life of a token that is not renewed.";
    "delegation.token.max.lifetime.ms": Long = "604800000", ReadOnly, Any, [refused SECURITY],
        "Longest life of a token.";
    "delegation.token.secret.key": Password = null, ReadOnly, Any, [refused SECURITY],
        "Secret that signs tokens.";
    "principal.builder.class": Class = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", PerBroker, Any, [refused PLUGIN],
        "Plug-in that names the user of a connection.";
    "sasl.client.callback.handler.class": Class = null, ReadOnly, Any, [refused SECURITY],
        "Plug-in for the broker's own logins.";
    "sasl.enabled.mechanisms": List = "GSSAPI", PerBroker, Any, [refused SECURITY],
        "SASL mechanisms offered to clients.";
    "sasl.jaas.config": Password = null, PerBroker, Any, [refused SECURITY],
        "Login modules.";
    "sasl.kerberos.kinit.cmd": String = "/usr/bin/kinit", PerBroker, Any, [refused KERBEROS],
        "Path of kinit.";
    "sasl.kerberos.min.time.before.relogin": Long = "60000", PerBroker, Any, [refused KERBEROS],
        "Pause between two logins.";
    "sasl.kerberos.principal.to.local.rules": List = "DEFAULT", PerBroker, Any, [refused KERBEROS],
        "How Kerberos names become short names.";
    "sasl.kerberos.service.name": String = null, PerBroker, Any, [refused KERBEROS],
        "Kerberos name of the service.";
    "sasl.kerberos.ticket.renew.jitter": Double = "0.05", PerBroker, Any, [refused KERBEROS],
        "Random part of the renewal time.";
    "sasl.kerberos.ticket.renew.window.factor": Double = "0.8", PerBroker, Any, [refused KERBEROS],
        "Share of a ticket's life after which it is renewed.";
    "sasl.login.callback.handler.class": Class = null, ReadOnly, Any, [refused SECURITY],
        "Plug-in for the broker's own logins.";
    "sasl.login.class": Class = null, ReadOnly, Any, [refused SECURITY],
        "Plug-in for the broker's own logins.";
    "sasl.login.connect.timeout.ms": Int = null, ReadOnly, Any, [refused SECURITY],
        "Wait for a connection to an identity provider.";
    "sasl.login.read.timeout.ms": Int = null, ReadOnly, Any, [refused SECURITY],
        "Wait for an answer of an identity provider.";
    "sasl.login.refresh.buffer.seconds": Short = "300", PerBroker, Any, [refused SECURITY],
        "Time left on a token when it is renewed.";
    "sasl.login.refresh.min.period.seconds": Short = "60", PerBroker, Any, [refused SECURITY],
        "Shortest time between renewals.";
    "sasl.login.refresh.window.factor": Double = "0.8", PerBroker, Any, [refused SECURITY],
        "Share of a token's life after which it is renewed.";
    "sasl.login.refresh.window.jitter": Double = "0.05", PerBroker, Any, [refused SECURITY],
        "Random part of the renewal time.";
    "sasl.login.retry.backoff.max.ms": Long = "10000", ReadOnly, Any, [refused SECURITY],
        "Longest pause before a login is tried again.";
    "sasl.login.retry.backoff.ms": Long = "100", ReadOnly, Any, [refused SECURITY],
        "First pause before a login is tried again.";
    "sasl.mechanism.controller.protocol": String = "GSSAPI", ReadOnly, Any, [refused SECURITY],
        "SASL mechanism towards controllers.";
    "sasl.mechanism.inter.broker.protocol": String = "GSSAPI", PerBroker, Any, [refused SECURITY],
        "SASL mechanism between brokers.";
    "sasl.oauthbearer.assertion.algorithm": String = "RS256", ReadOnly, Any, [refused SECURITY],
        "Algorithm that signs an assertion.";
    "sasl.oauthbearer.assertion.claim.aud": String = null, ReadOnly, Any, [refused SECURITY],
        "Audience of an assertion.";
    "sasl.oauthbearer.assertion.claim.exp.seconds": Int = "300", ReadOnly, Any, [refused SECURITY],
        "Life of an assertion.";
    "sasl.oauthbearer.assertion.claim.iss": String = null, ReadOnly, Any, [refused SECURITY],
        "Issuer of an assertion.";
    "sasl.oauthbearer.assertion.claim.jti.include": Boolean = "false", ReadOnly, Any, [refused SECURITY],
        "Whether an assertion has an id.";
    "sasl.oauthbearer.assertion.claim.nbf.seconds": Int = "60", ReadOnly, Any, [refused SECURITY],
        "How far back an assertion is valid.";
    "sasl.oauthbearer.assertion.claim.sub": String = null, ReadOnly, Any, [refused SECURITY],
        "Subject of an assertion.";
    "sasl.oauthbearer.assertion.file": String = null, ReadOnly, Any, [refused SECURITY],
        "File with a ready assertion.";
    "sasl.oauthbearer.assertion.private.key.file": String = null, ReadOnly, Any, [refused SECURITY],
        "Key that signs an assertion.";
    "sasl.oauthbearer.assertion.private.key.passphrase": Password = null, ReadOnly, Any, [refused SECURITY],
        "Passphrase of that key.";
    "sasl.oauthbearer.assertion.template.file": String = null, ReadOnly, Any, [refused SECURITY],
        "Template of an assertion.";
    "sasl.oauthbearer.client.credentials.client.id": String = null, ReadOnly, Any, [refused SECURITY],
        "Client id at the identity provider.";
    "sasl.oauthbearer.client.credentials.client.secret": Password = null, ReadOnly, Any, [refused SECURITY],
        "Client secret at the identity provider.";
    "sasl.oauthbearer.clock.skew.seconds": Int = "30", ReadOnly, Any, [refused SECURITY],
        "Difference of clocks that is forgiven.";
    "sasl.oauthbearer.expected.audience": List = "", ReadOnly, Any, [refused SECURITY],
        "Audience a token must name.";
    "sasl.oauthbearer.expected.issuer": String = null, ReadOnly, Any, [refused SECURITY],
        "Issuer a token must name.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms": Long = "3600000", ReadOnly, Any, [refused SECURITY],
        "How often the provider's keys are fetched.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms": Long = "10000", ReadOnly, Any, [refused SECURITY],
        "Longest pause before the keys are fetched again.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms": Long = "100", ReadOnly, Any, [refused SECURITY],
        "First pause before the keys are fetched again.";
    "sasl.oauthbearer.jwks.endpoint.url": String = null, ReadOnly, Any, [refused SECURITY],
        "Where the provider's keys are.";
    "sasl.oauthbearer.jwt.retriever.class": Class = "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever", ReadOnly, Any, [refused SECURITY],
        "Plug-in that fetches tokens.";
    "sasl.oauthbearer.jwt.validator.class": Class = "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator", ReadOnly, Any, [refused SECURITY],
        "Plug-in that checks tokens.";
    "sasl.oauthbearer.scope": String = null, ReadOnly, Any, [refused SECURITY],
        "Scope asked for.";
    "sasl.oauthbearer.scope.claim.name": String = "scope", ReadOnly, Any, [refused SECURITY],
        "Claim that holds the scope.";
    "sasl.oauthbearer.sub.claim.name": String = "sub", ReadOnly, Any, [refused SECURITY],
        "Claim that holds the subject.";
    "sasl.oauthbearer.token.endpoint.url": String = null, ReadOnly, Any, [refused SECURITY],
        "Where tokens are fetched.";
    "sasl.server.callback.handler.class": Class = null, ReadOnly, Any, [refused SECURITY],
        "Plug-in that checks clients' logins.";
    "sasl.server.max.receive.size": Int = "524288", ReadOnly, Any, [refused SECURITY],
        "Largest frame before login.";
    "security.inter.broker.protocol": String = "PLAINTEXT", ReadOnly, Any, [refused SECURITY],
        "Security protocol between brokers.";
    "security.providers": String = null, ReadOnly, Any, [refused PLUGIN],
        "Plug-ins for cryptography.";
    "ssl.allow.dn.changes": Boolean = "false", ReadOnly, Any, [refused SECURITY],
        "Whether a new certificate may have another name.";
    "ssl.allow.san.changes": Boolean = "false", ReadOnly, Any, [refused SECURITY],
        "Whether a new certificate may have other alternative names.";
    "ssl.cipher.suites": List = "", PerBroker, Any, [refused SECURITY],
        "Cipher suites offered.";
    "ssl.client.auth": String = "none", PerBroker, Any, [refused SECURITY],
        "Whether clients must show a certificate.";
    "ssl.enabled.protocols": List = "TLSv1.2,TLSv1.3", PerBroker, Any, [refused SECURITY],
        "TLS versions offered.";
    "ssl.endpoint.identification.algorithm": String = "https", PerBroker, Any, [refused SECURITY],
        "How the server's name is checked.";
    "ssl.engine.factory.class": Class = null, PerBroker, Any, [refused SECURITY],
        "Plug-in that makes TLS engines.";
    "ssl.key.password": Password = null, PerBroker, Any, [refused SECURITY],
        "Passphrase of the private key.";
    "ssl.keymanager.algorithm": String = "SunX509", PerBroker, Any, [refused SECURITY],
        "Algorithm of the key manager.";
    "ssl.keystore.certificate.chain": Password = null, PerBroker, Any, [refused SECURITY],
        "The certificate chain itself.";
    "ssl.keystore.key": Password = null, PerBroker, Any, [refused SECURITY],
        "The private key itself.";
    "ssl.keystore.location": String = null, PerBroker, Any, [refused SECURITY],
        "File with key and certificates.";
    "ssl.keystore.password": Password = null, PerBroker, Any, [refused SECURITY],
        "Passphrase of that file.";
    "ssl.keystore.type": String = "JKS", PerBroker, Any, [refused SECURITY],
        "Format of that file.";
    "ssl.principal.mapping.rules": String = "DEFAULT", ReadOnly, Any, [refused SECURITY],
        "How certificate names become user names.";
    "ssl.protocol": String = "TLSv1.3", PerBroker, Any, [refused SECURITY],
        "Preferred TLS version.";
    "ssl.provider": String = null, PerBroker, Any, [refused SECURITY],
        "Plug-in for TLS.";
    "ssl.secure.random.implementation": String = null, PerBroker, Any, [refused SECURITY],
        "Source of randomness for TLS.";
    "ssl.trustmanager.algorithm": String = "PKIX", PerBroker, Any, [refused SECURITY],
        "Algorithm of the trust manager.";
    "ssl.truststore.certificates": Password = null, PerBroker, Any, [refused SECURITY],
        "The trusted certificates themselves.";
    "ssl.truststore.location": String = null, PerBroker, Any, [refused SECURITY],
        "File with trusted certificates.";
    "ssl.truststore.password": Password = null, PerBroker, Any, [refused SECURITY],
        "Passphrase of that file.";
    "ssl.truststore.type": String = "JKS", PerBroker, Any, [refused SECURITY],
        "Format of that file.";
}
