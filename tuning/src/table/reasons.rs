//! Why a setting is not honoured, in the words a user reads in errors, warnings and the documentation.

pub(super) const AUTHORIZER: &str =
    "there are no access control lists; every client may do everything";
pub(super) const CHECKPOINT: &str =
    "the journal is the durability point, and checkpoints follow its size";
pub(super) const CLEANER_ALWAYS: &str = "cleaning cannot be switched off for the whole broker";
pub(super) const CONNECTION_OVERRIDES: &str = "every address has the same limit";
pub(super) const CONTROLLER: &str =
    "a node of one is its own controller; there is no quorum, and no controller listener is opened";
pub(super) const FIXED: &str = "the limit is fixed";
pub(super) const FORMAT: &str =
    "record batches are stored in format version 2, the only one left in Kafka 4";
pub(super) const GROUP_LOG: &str = "how groups are written and loaded cannot be adjusted";
pub(super) const INDEX: &str =
    "Tidelog reads by its own sidecar index; Kafka's index files are written for its tools only";
pub(super) const JVM_METRICS: &str = "there is no Java virtual machine and no metrics plug-in";
pub(super) const KERBEROS: &str = "Kerberos is not planned";
pub(super) const LZ4: &str = "the LZ4 encoder has a single level";
pub(super) const METADATA: &str = "the metadata log of a node of one is small and kept whole";
pub(super) const ONE_COPY: &str = "a node of one keeps one replica";
pub(super) const ONE_DIRECTORY: &str = "there is exactly one data directory";
pub(super) const ONE_NODE: &str = "Tidelog runs as a node of one and does not replicate";
pub(super) const ONE_NODE_LISTENER: &str = "a node of one has no traffic between brokers";
pub(super) const OUTBOUND: &str = "the broker opens no connections of its own";
pub(super) const PLUGIN: &str = "Java plug-ins cannot be loaded";
pub(super) const PREALLOCATE: &str =
    "the space of a batch is always allocated before it is acknowledged";
pub(super) const PURGATORY: &str = "requests that wait are woken and cancelled one by one";
pub(super) const QUEUE: &str = "requests are bounded by bytes per shard, not by this queue";
pub(super) const QUOTAS: &str = "there are no quotas";
pub(super) const RACK: &str = "a node of one has no racks to choose from";
pub(super) const SECURITY: &str = "only PLAINTEXT listeners are served";
pub(super) const SHARE_GROUPS: &str = "share groups are not served yet";
pub(super) const SOCKET: &str = "the kernel sizes socket buffers and the accept queue itself";
pub(super) const STREAMS_GROUPS: &str = "streams groups are not served yet";
pub(super) const TELEMETRY: &str = "clients' metrics are not collected";
pub(super) const THREADS: &str =
    "Tidelog has no thread pools: one shard per core does this work, see `shards`";
pub(super) const TIERED: &str = "there is no tiered storage";
pub(super) const TRANSACTIONS: &str = "transactions are not served yet";
