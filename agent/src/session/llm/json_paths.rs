//! The set of JSON paths that a dialect wants, or the configuration, as a small tree that the scanner walks along while
//! it reads. Built once from rows such as `("choices[].delta.content", Field::Content)`.

use super::field::Field;

/// Index of a place in the tree; `DEAD` is every place below which nothing is wanted.
pub type NodeId = u8;
pub const ROOT: NodeId = 0;
pub const DEAD: NodeId = NodeId::MAX;
/// Containers nested deeper than this are never wanted.
pub const MAX_DEPTH: usize = 8;

#[derive(Debug)]
struct Node<F> {
    field: Option<F>,
    element: NodeId,
    members: Vec<(Box<[u8]>, NodeId)>,
}

/// Rows of path and field. `a.b` is member b of object a, `a[]` any element of array a.
pub type Rows = &'static [(&'static str, Field)];

#[derive(Debug)]
pub struct PathTree<F = Field> {
    nodes: Vec<Node<F>>,
}

impl PathTree {
    /// Panics when the rows are too deep or too many: they are constants.
    pub fn new(sets: &[Rows]) -> Self {
        let mut tree = Self::default();
        for (path, field) in sets.iter().copied().flatten() {
            tree.add(path, *field).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        tree
    }
}

impl<F> Default for PathTree<F> {
    fn default() -> Self {
        Self { nodes: vec![Node { field: None, element: DEAD, members: Vec::new() }] }
    }
}

impl<F: Copy> PathTree<F> {
    /// Adds a wanted path; the last one of two that are the same holds. Errors: it is too deep, or one too many; what was
    /// added by then stays, and wants nothing.
    pub fn add(&mut self, path: &str, field: F) -> Result<(), &'static str> {
        let at = self.place(path)?;
        self.nodes[usize::from(at)].field = Some(field);
        Ok(())
    }

    /// What is wanted at a path.
    pub fn at(&self, path: &str) -> Option<F> {
        let segments = path.split('.');
        let end = segments.fold(ROOT, |at, segment| {
            let name = segment.trim_end_matches("[]");
            let member = if name.is_empty() { at } else { self.member(at, name.as_bytes()) };
            (0..(segment.len() - name.len()) / 2).fold(member, |at, _| self.element(at))
        });
        self.field(end)
    }

    pub fn field(&self, node: NodeId) -> Option<F> {
        self.nodes.get(usize::from(node)).and_then(|n| n.field)
    }

    pub fn element(&self, node: NodeId) -> NodeId {
        self.nodes.get(usize::from(node)).map_or(DEAD, |n| n.element)
    }

    pub fn member(&self, node: NodeId, key: &[u8]) -> NodeId {
        let Some(node) = self.nodes.get(usize::from(node)) else { return DEAD };
        node.members.iter().find(|(name, _)| **name == *key).map_or(DEAD, |(_, id)| *id)
    }

    fn place(&mut self, path: &str) -> Result<NodeId, &'static str> {
        let mut at = ROOT;
        let mut depth = 0;
        for segment in path.split('.') {
            let name = segment.trim_end_matches("[]");
            if !name.is_empty() {
                at = self.grow_member(at, name)?;
                depth += 1;
            }
            for _ in 0..(segment.len() - name.len()) / 2 {
                at = self.grow_element(at)?;
                depth += 1;
            }
        }
        if depth < MAX_DEPTH { Ok(at) } else { Err("it is nested too deep") }
    }

    fn grow_member(&mut self, at: NodeId, name: &str) -> Result<NodeId, &'static str> {
        let known = self.member(at, name.as_bytes());
        if known != DEAD {
            return Ok(known);
        }
        let id = self.grow()?;
        self.nodes[usize::from(at)].members.push((name.as_bytes().into(), id));
        Ok(id)
    }

    fn grow_element(&mut self, at: NodeId) -> Result<NodeId, &'static str> {
        let known = self.nodes[usize::from(at)].element;
        if known != DEAD {
            return Ok(known);
        }
        let id = self.grow()?;
        self.nodes[usize::from(at)].element = id;
        Ok(id)
    }

    fn grow(&mut self) -> Result<NodeId, &'static str> {
        let id = NodeId::try_from(self.nodes.len()).ok().filter(|id| *id != DEAD).ok_or("there are too many paths")?;
        self.nodes.push(Node { field: None, element: DEAD, members: Vec::new() });
        Ok(id)
    }
}
