//! What the tests of deploy/ share: its files, the names of the series that there are and their labels, and what a
//! PromQL expression asks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use agent::export::metrics::{Kind, METRICS};
use promql_parser::label::Matchers;
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub fn files(dir: &str, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(project().join(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(end));
    found.sort();
    assert!(!found.is_empty(), "{dir} holds no *{end}");
    found
}

pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of series: those of the table, with what a histogram is written as, and Prometheus' own.
pub fn series() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["up".to_owned()]);
    for metric in METRICS {
        if metric.kind == Kind::Histogram {
            names.extend(["_bucket", "_count", "_sum"].map(|end| format!("{}{end}", metric.name)));
        } else {
            names.insert(metric.name.to_owned());
        }
    }
    names
}

/// Labels of one series: the table's, the target's, and those that Kubernetes adds to a service's.
pub fn labels_of(name: &str) -> BTreeSet<&'static str> {
    let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let metric = METRICS.iter().find(|metric| metric.name == name || metric.name == family);
    let mut labels = BTreeSet::from(["instance", "job"]);
    labels.extend(metric.into_iter().flat_map(|metric| metric.labels));
    if labels.contains("service") {
        labels.extend(["namespace", "pod", "container", "service_group"]);
    }
    if name.ends_with("_bucket") {
        labels.insert("le");
    }
    labels
}

/// What an expression asks for: selectors by name with the labels they match, and labels it groups or joins by.
#[derive(Default)]
pub struct Asked {
    pub selectors: Vec<(String, Matchers)>,
    pub grouping: BTreeSet<String>,
}

impl Asked {
    pub fn by(expression: &str) -> Self {
        let parsed = parser::parse(expression).unwrap_or_else(|error| panic!("{error}: {expression}"));
        let mut asked = Self::default();
        walk_expr(&mut asked, &parsed).unwrap();
        asked
    }

    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.clone().expect("a selector names its metric");
        self.selectors.push((name, selector.matchers.clone()));
    }

    fn group(&mut self, modifier: Option<&LabelModifier>) {
        if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = modifier {
            self.grouping.extend(labels.labels.iter().cloned());
        }
    }
}

impl ExprVisitor for Asked {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(aggregate) => self.group(aggregate.modifier.as_ref()),
            Expr::Binary(binary) => self.group(binary.modifier.as_ref().and_then(|m| m.matching.as_ref())),
            _ => {}
        }
        Ok(true)
    }
}
