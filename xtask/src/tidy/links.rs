//! Links of the Markdown files: what is linked to is in the repository, and a heading that is named is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::Finding;

/// A file as far as links are concerned.
#[derive(Default)]
struct Page {
    /// Where each link leads, and its line.
    links: Vec<(String, usize)>,
    headings: BTreeSet<String>,
}

impl Page {
    fn new(text: &str) -> Self {
        let (mut page, mut heading): (Self, Option<String>) = (Self::default(), None);
        for (event, span) in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((dest_url.into_string(), text[..span.start].matches('\n').count() + 1));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(part) | Event::Code(part) => heading.iter_mut().for_each(|heading| heading.push_str(&part)),
                Event::End(TagEnd::Heading(_)) => page.headings.extend(heading.take().map(|heading| anchor(&heading))),
                _ => {}
            }
        }
        page
    }
}

/// As the places that show Markdown make it: lower case, blanks as hyphens, punctuation left out.
fn anchor(heading: &str) -> String {
    let letter = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(letter).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The path that `link` leads to from the folder of `from`; None if it leads out of the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut path: Vec<String> = Vec::new();
    let folder = Path::new(from).parent()?;
    for component in folder.join(link).components() {
        match component {
            Component::Normal(name) => path.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(path.pop()?),
            _ => {}
        }
    }
    Some(path.join("/"))
}

/// `texts` are the Markdown files by path, `exists` tells whether a path is in the repository.
pub fn check(texts: &BTreeMap<String, String>, exists: impl Fn(&str) -> bool, findings: &mut Vec<Finding>) {
    let pages: BTreeMap<&str, Page> = texts.iter().map(|(path, text)| (path.as_str(), Page::new(text))).collect();
    for (path, page) in &pages {
        for (link, line) in &page.links {
            // Of another host, or written for one that fills it in.
            if link.contains(':') || link.starts_with("//") {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link.as_str(), None), |(file, at)| (file, Some(at)));
            let target = if file.is_empty() { Some((*path).to_owned()) } else { resolve(path, file) };
            let says = match (&target, heading) {
                (Some(target), Some(heading)) if pages.contains_key(target.as_str()) => {
                    (!pages[target.as_str()].headings.contains(heading))
                        .then(|| format!("{target} has no heading #{heading}"))
                }
                (Some(target), _) if exists(target) => None,
                _ => Some(format!("a link to {link}, which is not there")),
            };
            findings.extend(says.map(|says| Finding { path: (*path).to_owned(), line: *line, says, must_go: true }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> Vec<String> {
        let texts = [("docs/a.md", text), ("README.md", "# Top\n## `One`, two\n")];
        let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let mut findings = Vec::new();
        check(&texts, |path| ["docs/a.md", "README.md", "docs"].contains(&path), &mut findings);
        findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.says)).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        assert!(says("# A\n[a](#a) [b](../README.md#one-two) [c](https://x.org/#y) [d](../docs) `[e](f)`").is_empty());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let found = says("# A\n\n[a](#b)\n[b](../README.md#two)\n![c](x.png) [d](../../README.md)\n");
        let wanted = [
            "3: docs/a.md has no heading #b",
            "4: README.md has no heading #two",
            "5: a link to x.png, which is not there",
            "5: a link to ../../README.md, which is not there",
        ];
        assert_eq!(found, wanted);
    }
}
