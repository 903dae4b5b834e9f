//! Texts with one mistake each.

use super::*;

const GOOD: &str = "# HELP a_total Things\\nand \\\\ more.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n},\",y=\"\"} 1\na_total{x=\"\"} 2.5e-7\n\
    # HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"0.1\"} 1\nh_seconds_bucket{le=\"+Inf\"} 2\n\
    h_seconds_sum 0.5\nh_seconds_count 2\n# HELP g G.\n# TYPE g gauge\ng NaN\n";

#[test]
fn a_good_text_has_no_problems() {
    assert_eq!(problems(GOOD), Vec::<String>::new());
    assert_eq!(problems(""), Vec::<String>::new());
}

#[test]
fn each_mistake_is_found() {
    for (from, to, says) in [
        ("g NaN\n", "g NaN", "last line does not end"),
        ("g NaN", "g nan", "not a value"),
        ("g NaN", "g inf", "not a value"),
        ("g NaN", "g", "not a sample"),
        ("g NaN", "g NaN\ng 1", "series stands twice"),
        ("g NaN", "g{a=\"1\",b=\"2\"} 1\ng{b=\"2\",a=\"1\"} 1", "series stands twice"),
        ("g NaN", "g{__a=\"1\"} 1", "not a label's name"),
        ("g NaN", "g{a=\"1\",a=\"2\"} 1", "label a stands twice"),
        ("g NaN", "g{a=\"\\t\"} 1", "escape that does not exist"),
        ("g NaN", "g{a=\"1} 1", "without an end"),
        ("g NaN", "b 1", "inside of family g"),
        ("# TYPE g gauge", "# TYPE g number", "no such type"),
        ("# HELP g G.\n", "", "TYPE without HELP"),
        ("# TYPE g gauge\n", "", "a sample without TYPE"),
        ("# HELP g G.", "# HELP a_total G.", "begins a second time"),
        ("# HELP g G.", "# HELP g G.\n# HELP g G.", "HELP stands twice"),
        ("a_total{x=\"\"} 2.5e-7", "a_total -1", "below zero"),
        ("le=\"0.1\"} 1", "le=\"0.1\"} 3", "do not rise"),
        ("h_seconds_bucket{le=\"+Inf\"} 2\n", "", "no bucket +Inf"),
        ("h_seconds_count 2", "h_seconds_count 3", "not the count"),
        ("h_seconds_sum 0.5\n", "", "no sum"),
        ("h_seconds_sum 0.5", "h_seconds_total 0.5", "not a sample of a histogram"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let found = problems(&text).join("\n");
        assert!(found.contains(says), "{from:?} -> {to:?}: {says:?} is not in {found:?}");
    }
}
