//! SCRAM credentials: what is kept of a user's password, and decisions about it (KIP-554).
//!
//! A client sends the salted password; kept are the two keys that RFC 5802 derives from it, as in Kafka's records. There
//! are no SASL listeners yet: the credentials are stored, described and handed on, and nobody logs in with them.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

use super::controller::{ControlError, ControlErrorKind as Kind};
use super::image::MetadataImage;
use super::record::Record;

const ITERATIONS_MAX: i32 = 16384;

/// How a password is hashed; the number is Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256.
    Sha256 = 1,
    /// SCRAM-SHA-512.
    Sha512 = 2,
}

impl ScramMechanism {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The mechanism with Kafka's number `code`.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| *mechanism as i8 == code)
    }

    fn iterations_min(self) -> i32 {
        // Both have the same minimum (RFC 7677).
        4096
    }

    /// The two keys of RFC 5802; `None` for an empty password, which is no key.
    fn keys(self, salted_password: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        if salted_password.is_empty() {
            return None;
        }
        let (client_key, server_key) = (
            self.sign(salted_password, b"Client Key"),
            self.sign(salted_password, b"Server Key"),
        );
        let stored_key = match self {
            Self::Sha256 => Sha256::digest(&client_key).to_vec(),
            Self::Sha512 => Sha512::digest(&client_key).to_vec(),
        };
        Some((stored_key, server_key))
    }

    fn sign(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        const ANY_LENGTH: &str = "HMAC takes keys of any length";
        match self {
            Self::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_LENGTH);
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            }
            Self::Sha512 => {
                let mut mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY_LENGTH);
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }
}

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// Mixed into the password.
    pub salt: Vec<u8>,
    /// Hash of the key that proves the client.
    pub stored_key: Vec<u8>,
    /// The key that proves the server.
    pub server_key: Vec<u8>,
    /// How often the password was hashed.
    pub iterations: i32,
}

// Keys do not belong in logs.
impl std::fmt::Debug for ScramCredential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ScramCredential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// One wish of AlterUserScramCredentials.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramAlteration {
    /// The user.
    pub user: String,
    /// Kafka's number of the mechanism, as received.
    pub mechanism: i8,
    /// The new password, or `None` to take the credential away.
    pub password: Option<SaltedPassword>,
}

// The salted password is as good as the password.
impl std::fmt::Debug for ScramAlteration {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ScramAlteration")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A password as clients send it.
#[derive(Clone, PartialEq, Eq)]
pub struct SaltedPassword {
    /// How often it was hashed.
    pub iterations: i32,
    /// What was mixed in.
    pub salt: Vec<u8>,
    /// The result.
    pub salted_password: Vec<u8>,
}

type Outcome = Result<(), ControlError>;

/// Decides AlterUserScramCredentials; removals come first in `alterations`. One result per user: a user that is named
/// twice is refused, whatever the mechanism.
#[must_use]
pub fn alter(
    image: &MetadataImage,
    alterations: &[ScramAlteration],
) -> (Vec<(String, Outcome)>, Vec<Record>) {
    let mut decided: BTreeMap<&str, Result<Record, ControlError>> = BTreeMap::new();
    for wanted in alterations {
        let outcome = match decided.get(&*wanted.user) {
            Some(Err(_)) => continue,
            Some(Ok(_)) => Err(ControlError::new(
                Kind::DuplicateResource,
                "A user credential cannot be altered twice in the same request",
            )),
            None => decide(image, wanted),
        };
        decided.insert(&wanted.user, outcome);
    }
    let mut results = Vec::with_capacity(decided.len());
    let mut records = Vec::new();
    for (user, outcome) in decided {
        results.push((user.to_owned(), outcome.map(|record| records.push(record))));
    }
    (results, records)
}

fn decide(image: &MetadataImage, wanted: &ScramAlteration) -> Result<Record, ControlError> {
    let refuse = |kind, message: &str| Err(ControlError::new(kind, message));
    let user = wanted.user.clone();
    if user.is_empty() {
        return refuse(Kind::UnacceptableCredential, "Username must not be empty");
    }
    let Some(mechanism) = ScramMechanism::from_code(wanted.mechanism) else {
        return refuse(Kind::UnsupportedSaslMechanism, "Unknown SCRAM mechanism");
    };
    let Some(password) = &wanted.password else {
        if !image.scram.contains_key(&(user.clone(), mechanism)) {
            let message = "Attempt to delete a user credential that does not exist";
            return refuse(Kind::ResourceNotFound, message);
        }
        return Ok(Record::RemoveScramCredential { user, mechanism });
    };
    if password.iterations < mechanism.iterations_min() {
        return refuse(Kind::UnacceptableCredential, "Too few iterations");
    }
    if password.iterations > ITERATIONS_MAX {
        return refuse(Kind::UnacceptableCredential, "Too many iterations");
    }
    let Some((stored_key, server_key)) = mechanism.keys(&password.salted_password) else {
        return Err(ControlError::bare(Kind::UnknownServerError));
    };
    Ok(Record::ScramCredential {
        user,
        mechanism,
        credential: ScramCredential {
            salt: password.salt.clone(),
            stored_key,
            server_key,
            iterations: password.iterations,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(user: &str, mechanism: i8) -> ScramAlteration {
        ScramAlteration {
            user: user.to_owned(),
            mechanism,
            password: Some(SaltedPassword {
                iterations: 4096,
                salt: b"salt".to_vec(),
                salted_password: vec![7; 32],
            }),
        }
    }

    fn remove(user: &str) -> ScramAlteration {
        ScramAlteration {
            password: None,
            ..set(user, 1)
        }
    }

    #[test]
    fn a_user_named_twice_is_refused_and_the_others_are_not() {
        let mut image = MetadataImage::empty("cluster", std::sync::Arc::default());
        let wanted = [remove("w"), set("u", 1), set("u", 2), set("v", 1)];
        let (results, records) = alter(&image, &wanted);
        let kinds: Vec<_> = results
            .iter()
            .map(|(user, result)| (user.as_str(), result.as_ref().map_err(|error| error.kind)))
            .collect();
        let expected = [
            ("u", Err(Kind::DuplicateResource)),
            ("v", Ok(&())),
            ("w", Err(Kind::ResourceNotFound)),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(records.len(), 1);
        image.apply(&records[0]).unwrap();
        let (results, records) = alter(&image, &[remove("v")]);
        assert_eq!(results, [("v".to_owned(), Ok(()))]);
        image.apply(&records[0]).unwrap();
        assert!(image.scram.is_empty());
    }

    // RFC 7677, section 3: user "user", password "pencil", 4096 iterations; the salted password was computed with
    // Python's hashlib.pbkdf2_hmac, the keys with its hmac and hashlib.
    #[test]
    fn the_keys_are_those_of_the_standard() {
        let salted = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
        let stored = "586e5df283e6dceb5c3e791d8b8528ec191e664045ce971792e2e6b5bb13e2a6";
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect()
        };
        let server = "c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5";
        let (stored_key, server_key) = ScramMechanism::Sha256.keys(&hex(salted)).unwrap();
        assert_eq!((stored_key, server_key), (hex(stored), hex(server)));
    }
}
