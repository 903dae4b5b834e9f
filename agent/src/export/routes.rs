//! Paths to route templates, so that ids in paths do not make series: the operator's templates first, then segments
//! that look like ids become `{id}`; the number of distinct routes is capped.

use rustc_hash::FxHashSet;

use super::requests::OTHER;

/// Distinct routes that are not from a template.
const ROUTES: usize = 200;
const SEGMENTS: usize = 8;

/// The operator's templates, and the routes that were made without one.
#[derive(Debug, Default)]
pub struct Routes {
    templates: Vec<String>,
    seen: FxHashSet<String>,
}

fn fits(template: &str, path: &str) -> bool {
    let (mut left, mut right) = (template.split('/'), path.split('/'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(t), Some(p)) if t == p || t.starts_with('{') && t.ends_with('}') && !p.is_empty() => {}
            _ => return false,
        }
    }
}

/// Numbers, long hexadecimal strings, UUIDs, and whatever is long and has digits in it.
fn is_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let hex = segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (digits > 0 && digits == segment.len())
        || (hex && segment.len() >= 8 && digits > 0)
        || (segment.len() > 24 && digits > 2)
}

impl Routes {
    /// Templates are paths with `{name}` in place of a segment that varies.
    pub fn new(templates: Vec<String>) -> Self {
        Self { templates, seen: FxHashSet::default() }
    }

    /// The route of a path.
    pub fn route(&mut self, path: &str) -> String {
        if let Some(template) = self.templates.iter().find(|template| fits(template, path)) {
            return template.clone();
        }
        let mut segments: Vec<&str> = path.split('/').take(SEGMENTS + 1).collect();
        if segments.len() > SEGMENTS {
            segments[SEGMENTS] = "*";
        }
        let route = segments.iter().map(|s| if is_id(s) { "{id}" } else { s }).collect::<Vec<_>>().join("/");
        let route: String = route.chars().filter(|c| !c.is_control()).take(128).collect();
        if self.seen.contains(&route) {
            return route;
        }
        if self.seen.len() >= ROUTES {
            return OTHER.to_owned();
        }
        self.seen.insert(route.clone());
        route
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_templates_and_versions_do_not() {
        let mut routes = Routes::new(vec!["/v2/models/{model}/generate".into()]);
        for (path, route) in [
            ("/v1/models", "/v1/models"),
            ("/slots/12", "/slots/{id}"),
            ("/files/3f2a77b0-1c2d-4e5f-8a9b-0c1d2e3f4a5b/raw", "/files/{id}/raw"),
            ("/v2/models/llama-7b/generate", "/v2/models/{model}/generate"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/*"),
        ] {
            assert_eq!(routes.route(path), route);
        }
    }

    #[test]
    fn the_number_of_routes_is_capped() {
        let mut routes = Routes::default();
        let distinct: FxHashSet<String> = (0..5000u32)
            .map(|n| routes.route(&n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect::<String>()))
            .collect();
        assert!(distinct.len() <= ROUTES + 1 && distinct.contains(OTHER));
    }
}
