//! Settings that are accepted but not listed by DescribeConfigs.

pub(in crate::table) use broker::ROWS as BROKER_ROWS;
pub(in crate::table) use topic::ROWS as TOPIC_ROWS;

mod topic {
    use crate::setting::Check::*;

    table! { Topic;
        "internal.segment.bytes": Int = null, ClusterWide, Any, [honoured],
            "Size at which a segment is closed, without the lower bound of `segment.bytes`; for tests.";
    }
}

mod broker {
    use super::super::reasons::*;
    use crate::setting::Check::*;

    table! { Broker;
        "log.message.downconversion.enable": Boolean = null, ReadOnly, Any, [inert FORMAT],
            "Whether old clients get old record formats; left over from Kafka 3.";
        "log.message.format.version": String = null, ReadOnly, Any, [inert FORMAT],
            "Record format of the log; left over from Kafka 3.";
    }
}
