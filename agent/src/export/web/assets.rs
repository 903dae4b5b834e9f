//! The files of the page, built in. They name no other host, and a browser asks again with their tag before it uses a copy.

use std::hash::{Hash as _, Hasher as _};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Response, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use rustc_hash::FxHasher;

struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal, $file:literal, $kind:expr) => {
        Asset { path: $path, kind: $kind, text: include_str!(concat!("page/", $file)) }
    };
}

const ASSETS: [Asset; 15] = [
    asset!("/", "index.html", HTML),
    asset!("/page/style.css", "style.css", CSS),
    asset!("/page/parts.css", "parts.css", CSS),
    asset!("/page/icon.svg", "icon.svg", SVG),
    asset!("/page/main.js", "main.js", SCRIPT),
    asset!("/page/poll.js", "poll.js", SCRIPT),
    asset!("/page/dom.js", "dom.js", SCRIPT),
    asset!("/page/format.js", "format.js", SCRIPT),
    asset!("/page/words.js", "words.js", SCRIPT),
    asset!("/page/table.js", "table.js", SCRIPT),
    asset!("/page/changes.js", "changes.js", SCRIPT),
    asset!("/page/chart.js", "chart.js", SCRIPT),
    asset!("/page/service.js", "service.js", SCRIPT),
    asset!("/page/requests.js", "requests.js", SCRIPT),
    asset!("/page/host.js", "host.js", SCRIPT),
];

/// A route per file.
pub fn routes() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset.text);
        router.route(asset.path, get(move |headers: HeaderMap| async move { served(asset, &tag, &headers) }))
    })
}

/// Of the content: another build's file has another.
fn tag(text: &str) -> String {
    let mut hasher = FxHasher::default();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn served(asset: &Asset, tag: &str, headers: &HeaderMap) -> Response<Body> {
    let common = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    if same {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, asset.kind)], asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for asset in &ASSETS {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", asset.path);
            assert!(!text.contains("innerHTML") && !text.contains("insertAdjacentHTML"), "{}", asset.path);
            assert!(!text.contains("style=\"") && !text.contains("onclick="), "{}", asset.path);
        }
    }

    #[test]
    fn a_copy_that_is_current_is_not_sent_again() {
        let asset = &ASSETS[0];
        let tag = tag(asset.text);
        assert_eq!(served(asset, &tag, &HeaderMap::new()).status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, tag.parse().expect("a header"));
        assert_eq!(served(asset, &tag, &headers).status(), StatusCode::NOT_MODIFIED);
        assert_ne!(super::tag("a"), super::tag("b"));
    }
}
