//! Settings of a subscription to clients' metrics.
//!
//! Rows: name: type = default, when it can change, rule, [support], meaning.

use super::reasons::*;
use crate::setting::Check::*;

table! { ClientMetrics;
    "interval.ms": Int = "300000", ClusterWide, Between(100, 3_600_000), [pending TELEMETRY],
        "How often clients push.";
    "match": List = "", ClusterWide, ClientMatch, [pending TELEMETRY],
        "Which clients: name=pattern, several joined by commas.";
    "metrics": List = "", ClusterWide, Any, [pending TELEMETRY],
        "Prefixes of the metrics wanted.";
}
