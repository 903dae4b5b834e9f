//! Fields of requests and responses that the configuration asks for: headers by name, and places of JSON bodies. Read as
//! the bytes pass, in constant memory; nothing is done, and nothing kept, where nothing is asked for.

mod response;
mod values;

use std::{mem::MaybeUninit, sync::Arc};

use httparse::Header;

use super::llm::{Framing, JsonBody, PathTree, Piece};
use response::ResponseBody;

pub use values::{Value, Values};

/// Number of a wanted field, by which its value is found.
pub type FieldId = u16;
const HEADERS: usize = 128;

/// What is wanted of a place in a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    pub id: FieldId,
    /// Not the value, but how often the place comes.
    pub count: bool,
}

/// Where a wanted field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Name in lower case.
    RequestHeader(String),
    ResponseHeader(String),
    /// `a.b` is member b of object a, `a[]` any element of array a, and `a.#` how many elements it has.
    RequestBody(String),
    ResponseBody(String),
}

/// All wanted fields.
#[derive(Debug, Default)]
pub struct Wanted {
    places: Vec<Place>,
    request_headers: Vec<(String, FieldId)>,
    response_headers: Vec<(String, FieldId)>,
    request: Option<PathTree<Pick>>,
    response: Option<PathTree<Pick>>,
}

impl Wanted {
    /// Adds a field unless it is there; its number. Errors: why the place cannot be had.
    pub fn add(&mut self, place: Place) -> Result<FieldId, String> {
        if let Some(at) = self.places.iter().position(|known| *known == place) {
            return Ok(at as FieldId);
        }
        let id = FieldId::try_from(self.places.len()).map_err(|_| "there are too many fields".to_owned())?;
        match &place {
            Place::RequestHeader(name) => self.request_headers.push((name.clone(), id)),
            Place::ResponseHeader(name) => self.response_headers.push((name.clone(), id)),
            Place::RequestBody(path) => grow(&mut self.request, path, id)?,
            Place::ResponseBody(path) => grow(&mut self.response, path, id)?,
        }
        self.places.push(place);
        Ok(id)
    }

    /// How many fields are wanted.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

fn grow(tree: &mut Option<PathTree<Pick>>, path: &str, id: FieldId) -> Result<(), String> {
    let plain = |name: &str| !name.is_empty() && !name.contains(['[', ']', '#']);
    let (path, count) = match path.strip_suffix(".#") {
        Some(array) => (format!("{array}[]"), true),
        None => (path.to_owned(), false),
    };
    if !path.split('.').all(|segment| plain(segment.trim_end_matches("[]"))) {
        return Err(
            "a path is made of names with dots between them, `name[]` is any element and `name.#` their number".into(),
        );
    }
    let tree = tree.get_or_insert_default();
    let other = |known: Pick| known.count != count;
    if tree.at(&path).is_some_and(other) {
        return Err("the number of elements and the elements themselves cannot both be had".into());
    }
    tree.add(&path, Pick { id, count }).map_err(str::to_owned)
}

/// Reads one exchange.
#[derive(Debug)]
pub struct Reader {
    wanted: Arc<Wanted>,
    request: JsonBody,
    response: ResponseBody,
    values: Values,
    /// Of the request's body.
    draft: Values,
}

impl Reader {
    /// A reader for a request with this head; none if nothing is wanted.
    pub fn begin(wanted: &Arc<Wanted>, head: &[u8]) -> Option<Box<Self>> {
        if wanted.is_empty() {
            return None;
        }
        let mut values = Values::new(wanted.places.len());
        if !wanted.request_headers.is_empty() {
            let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
            let mut parsed = httparse::Request::new(&mut []);
            // A head that is not read here was read by others who repaired it first: it goes without.
            if parsed.parse_with_uninit_headers(head, &mut headers).is_ok() {
                take_headers(&wanted.request_headers, parsed.headers, &mut values);
            }
        }
        Some(Box::new(Self {
            draft: Values::new(values.len()),
            response: ResponseBody::new(values.len()),
            request: JsonBody::default(),
            wanted: Arc::clone(wanted),
            values,
        }))
    }

    /// The next piece of the request's body.
    pub fn request_body(&mut self, piece: Piece<'_>) {
        let Some(tree) = &self.wanted.request else { return };
        match piece {
            Piece::Bytes(bytes) => _ = self.request.push(bytes, tree, &mut self.draft),
            Piece::Gap(0) => {}
            Piece::Gap(_) => {
                self.request.gap();
                self.draft.uncertain();
            }
        }
    }

    /// The request's body is complete. What was no JSON says nothing.
    pub fn request_end(&mut self) {
        let Some(tree) = &self.wanted.request else { return };
        if self.request.end(tree, &mut self.draft) {
            self.values.merge(&mut self.draft);
        }
    }

    /// The final response's head.
    pub fn response_head(&mut self, headers: &[Header<'_>], status: u16) {
        take_headers(&self.wanted.response_headers, headers, &mut self.values);
        if self.wanted.response.is_some() {
            self.response.head(Framing::of(headers), status);
        }
    }

    /// The next piece of the response's body.
    pub fn response_body(&mut self, piece: Piece<'_>) {
        let Some(tree) = &self.wanted.response else { return };
        match piece {
            Piece::Bytes(bytes) => self.response.push(bytes, tree, &mut self.values),
            Piece::Gap(0) => {}
            Piece::Gap(_) => self.response.gap(),
        }
    }

    /// The response's body is complete.
    pub fn response_end(&mut self) {
        if let Some(tree) = &self.wanted.response {
            self.response.end(tree, &mut self.values);
        }
    }

    /// What was found.
    pub fn finish(self) -> Values {
        self.values
    }
}

fn take_headers(wanted: &[(String, FieldId)], headers: &[Header<'_>], values: &mut Values) {
    for (name, id) in wanted {
        let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        if let Some(text) = found.and_then(|header| std::str::from_utf8(header.value).ok()) {
            values.set_text(*id, text.trim());
        }
    }
}

#[cfg(test)]
mod tests;
