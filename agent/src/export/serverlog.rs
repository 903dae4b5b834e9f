//! Families of what the watched servers write to their logs.

use ::prometheus::proto::MetricFamily;
use inferscope_abi::LogRow;

use super::{family::Family, metrics};
use crate::{serverlog::level::LEVELS, services::ServiceTable, shared::Snapshot};

/// Every level of a service that runs has a series from its start on, for a rate has to begin somewhere. `rows`: what the
/// kernel side counted of the service at an index.
pub fn families(
    services: &ServiceTable,
    snapshot: &Snapshot,
    rows: impl Fn(u32) -> Option<LogRow>,
) -> impl Iterator<Item = MetricFamily> {
    let mut lines = Family::new(&metrics::LOG_LINES);
    let mut bytes = Family::new(&metrics::LOG_BYTES);
    let mut unread = Family::new(&metrics::LOG_UNREAD);
    if let Some(logs) = snapshot.logs.as_ref().map(|logs| &logs.services) {
        let mut add = |service: &str, messages: [u64; LEVELS.len()]| {
            for ((_, level), count) in LEVELS.iter().zip(messages) {
                lines.add(&[service, level], count as f64);
            }
        };
        for service in services.iter() {
            let count = logs.get(&service.name).copied().unwrap_or_default();
            let row = rows(service.index).unwrap_or_default();
            add(&service.name, count.messages);
            bytes.add(&[&service.name], (row.bytes + count.bytes) as f64);
            unread.add(&[&service.name], (row.unread_bytes + count.unread_bytes) as f64);
        }
        for (service, count) in logs.iter().filter(|(name, _)| !services.iter().any(|service| service.name == **name)) {
            add(service, count.messages);
        }
    }
    [lines, bytes, unread].into_iter().filter_map(Family::finish)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{
        serverlog::{Count, Figures},
        services::ServiceView,
    };

    fn text(snapshot: &Snapshot) -> String {
        let service = |index, name: &str| Arc::new(ServiceView { index, name: name.into(), ..ServiceView::default() });
        let table = Arc::new(vec![service(1, "a"), service(2, "quiet")]);
        let rows = |index| Some(LogRow { bytes: u64::from(index) * 100, unread_bytes: 7, ..LogRow::default() });
        let families: Vec<_> = families(&table, snapshot, rows).collect();
        ::prometheus::TextEncoder::new().encode_to_string(&families).expect("encodable")
    }

    #[test]
    fn every_service_has_every_level_and_an_ended_one_keeps_its_own() {
        let count = |error| Count { messages: [1, 0, 2, 0, error, 0], bytes: 30, unread_bytes: 1 };
        let logs = BTreeMap::from([("a".to_owned(), count(3)), ("ended".to_owned(), count(4))]);
        let text =
            text(&Snapshot { logs: Some(Figures { services: logs, ..Figures::default() }), ..Snapshot::default() });
        for line in [
            "inferscope_log_lines_total{service=\"a\",level=\"error\"} 3",
            "inferscope_log_lines_total{service=\"a\",level=\"unknown\"} 1",
            "inferscope_log_lines_total{service=\"quiet\",level=\"critical\"} 0",
            "inferscope_log_lines_total{service=\"ended\",level=\"error\"} 4",
            "inferscope_log_bytes_total{service=\"a\"} 130",
            "inferscope_log_unread_bytes_total{service=\"a\"} 8",
            "inferscope_log_bytes_total{service=\"quiet\"} 200",
        ] {
            assert!(text.lines().any(|got| got == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn there_is_nothing_where_logs_are_not_looked_at() {
        assert_eq!(text(&Snapshot::default()), "");
    }
}
