//! Paths to route templates, so that ids in paths do not make series: the operator's templates first, then the paths of
//! LLM APIs; in all others, segments that look like ids become `{id}`, and the number of such routes is capped.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::session::llm;

/// Distinct routes that are neither from a template nor an LLM API's.
const ROUTES: usize = 200;
/// A route that nobody asked for in so long gives its place to a new one.
const IDLE_NS: u64 = 60 * 60 * 1_000_000_000;
const SEGMENTS: usize = 8;

/// The operator's templates, and the routes that were made without one.
#[derive(Debug, Default)]
pub struct Routes {
    templates: Vec<String>,
    /// With the start of the last request to each, nanoseconds of CLOCK_MONOTONIC.
    made: FxHashMap<String, u64>,
}

/// Where a request's path is counted.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    Route(String),
    /// In the place of a route that was idle for long.
    Instead {
        route: String,
        gone: String,
    },
    /// There is no room, or the path only ever failed: a scan for paths that do not exist takes no place.
    Nowhere,
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

/// The route that a path makes without a template.
fn make(path: &str) -> String {
    let mut segments: Vec<&str> = path.split('/').take(SEGMENTS + 1).collect();
    if segments.len() > SEGMENTS {
        segments[SEGMENTS] = "*";
    }
    let route = segments.iter().map(|s| if is_id(s) { "{id}" } else { s }).collect::<Vec<_>>().join("/");
    route.chars().filter(|c| !c.is_control()).take(128).collect()
}

impl Routes {
    /// Templates are paths with `{name}` in place of a segment that varies.
    pub fn new(templates: Vec<String>) -> Self {
        Self { templates, made: FxHashMap::default() }
    }

    /// Takes over another's templates; the routes made so far keep their places.
    pub fn set_templates_of(&mut self, other: Self) {
        self.templates = other.templates;
    }

    /// The place of a request that began at `at_ns` and was answered with `status`, 0 for no answer.
    pub fn place(&mut self, path: &str, status: u16, at_ns: u64) -> Place {
        if let Some(template) = self.templates.iter().find(|template| fits(template, path)) {
            return Place::Route(template.clone());
        }
        if let Some(route) = llm::route(path) {
            return Place::Route(route);
        }
        let route = make(path);
        if let Some(last_ns) = self.made.get_mut(&route) {
            *last_ns = at_ns.max(*last_ns);
            return Place::Route(route);
        }
        if !(100..400).contains(&status) {
            return Place::Nowhere;
        }
        let gone = match self.make_room(at_ns) {
            Ok(gone) => gone,
            Err(Full) => return Place::Nowhere,
        };
        self.made.insert(route.clone(), at_ns);
        match gone {
            Some(gone) => Place::Instead { route, gone },
            None => Place::Route(route),
        }
    }

    /// The route that had to go for it, if one had to.
    fn make_room(&mut self, now_ns: u64) -> Result<Option<String>, Full> {
        if self.made.len() < ROUTES {
            return Ok(None);
        }
        let (route, last_ns) = self.made.iter().min_by_key(|(_, last_ns)| **last_ns).ok_or(Full)?;
        if now_ns.saturating_sub(*last_ns) < IDLE_NS {
            return Err(Full);
        }
        let route = route.clone();
        self.made.remove(&route);
        Ok(Some(route))
    }

    /// Frees the places of the routes that are not among these.
    pub fn keep(&mut self, routes: &FxHashSet<&str>) {
        self.made.retain(|route, _| routes.contains(route.as_str()));
    }
}

/// Every place is taken by a route in use.
struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(routes: &mut Routes, path: &str) -> String {
        match routes.place(path, 200, 0) {
            Place::Route(route) => route,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn letters(n: usize) -> String {
        n.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect()
    }

    #[test]
    fn ids_become_templates_and_versions_do_not() {
        let mut routes = Routes::new(vec!["/v2/models/{model}/generate".into()]);
        for (path, want) in [
            ("/v1/models", "/v1/models"),
            ("/slots/12", "/slots/{id}"),
            ("/files/3f2a77b0-1c2d-4e5f-8a9b-0c1d2e3f4a5b/raw", "/files/{id}/raw"),
            ("/v2/models/llama-7b/generate", "/v2/models/{model}/generate"),
            ("/v2/models/llama-7b/infer", "/v2/models/{id}/infer"),
            ("/v1/chat/completions/", "/v1/chat/completions"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/*"),
        ] {
            assert_eq!(route(&mut routes, path), want);
        }
    }

    #[test]
    fn paths_that_only_fail_take_no_place() {
        let mut routes = Routes::default();
        for n in 0..5000 {
            let status = [404, 500, 0][n % 3];
            assert_eq!(routes.place(&format!("/{}", letters(n)), status, 0), Place::Nowhere);
        }
        assert_eq!(route(&mut routes, "/health"), "/health");
        // What has a place keeps it when it fails.
        assert_eq!(routes.place("/health", 503, 0), Place::Route("/health".into()));
    }

    #[test]
    fn when_all_places_are_taken_the_paths_of_apis_and_templates_still_have_theirs() {
        let mut routes = Routes::new(vec!["/t/{x}".into()]);
        for n in 0..ROUTES {
            route(&mut routes, &format!("/{}", letters(n)));
        }
        assert_eq!(routes.place("/new", 200, IDLE_NS - 1), Place::Nowhere);
        for (path, want) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/chat/completions", "/chat/completions"),
            ("/v1/messages", "/v1/messages"),
            ("/v2/models/m/versions/2/infer", "/v2/models/{id}/versions/{id}/infer"),
            ("/t/y", "/t/{x}"),
            ("/", "/"),
        ] {
            assert_eq!(routes.place(path, 404, 0), Place::Route(want.into()));
        }
        // Behind a prefix of its own a path is anyone's.
        assert_eq!(routes.place("/x/v1/chat/completions", 200, 0), Place::Nowhere);
    }

    #[test]
    fn the_route_that_was_idle_for_longest_gives_its_place() {
        let mut routes = Routes::default();
        for n in 0..ROUTES {
            let path = format!("/{}", letters(n));
            assert_eq!(routes.place(&path, 200, n as u64), Place::Route(path));
        }
        route(&mut routes, "/a");
        assert_eq!(routes.place("/a", 200, IDLE_NS), Place::Route("/a".into()));
        let instead = Place::Instead { route: "/new".into(), gone: "/b".into() };
        assert_eq!(routes.place("/new", 200, IDLE_NS + 1), instead);
        assert_eq!(routes.place("/newer", 200, IDLE_NS + 1), Place::Nowhere);
        routes.keep(&["/a", "/new"].into_iter().collect());
        assert_eq!(routes.made.len(), 2);
        routes.set_templates_of(Routes::new(vec!["/{any}".into()]));
        assert_eq!((route(&mut routes, "/z"), routes.made.len()), ("/{any}".into(), 2));
    }
}
