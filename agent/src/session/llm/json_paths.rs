//! The set of JSON paths that a dialect wants, as a small tree that the scanner walks along while it reads. Built once
//! per dialect from rows such as `("choices[].delta.content", Field::Content)`.

use super::field::Field;

/// Index of a place in the tree; `DEAD` is every place below which nothing is wanted.
pub type NodeId = u8;
pub const ROOT: NodeId = 0;
pub const DEAD: NodeId = NodeId::MAX;
/// Containers nested deeper than this are never wanted.
pub const MAX_DEPTH: usize = 8;

#[derive(Debug)]
struct Node {
    field: Option<Field>,
    element: NodeId,
    members: Vec<(&'static [u8], NodeId)>,
}

/// Rows of path and field. `a.b` is member b of object a, `a[]` any element of array a.
pub type Rows = &'static [(&'static str, Field)];

#[derive(Debug)]
pub struct PathTree {
    nodes: Vec<Node>,
}

impl PathTree {
    /// Panics when the rows are too deep or too many: they are constants.
    pub fn new(sets: &[Rows]) -> Self {
        let mut tree = Self { nodes: vec![Node { field: None, element: DEAD, members: Vec::new() }] };
        for (path, field) in sets.iter().copied().flatten() {
            let at = tree.place(path);
            tree.nodes[usize::from(at)].field = Some(*field);
        }
        tree
    }

    pub fn field(&self, node: NodeId) -> Option<Field> {
        self.nodes.get(usize::from(node)).and_then(|n| n.field)
    }

    pub fn element(&self, node: NodeId) -> NodeId {
        self.nodes.get(usize::from(node)).map_or(DEAD, |n| n.element)
    }

    pub fn member(&self, node: NodeId, key: &[u8]) -> NodeId {
        let Some(node) = self.nodes.get(usize::from(node)) else { return DEAD };
        node.members.iter().find(|(name, _)| *name == key).map_or(DEAD, |(_, id)| *id)
    }

    fn place(&mut self, path: &'static str) -> NodeId {
        let mut at = ROOT;
        let mut depth = 0;
        for segment in path.split('.') {
            let name = segment.trim_end_matches("[]");
            if !name.is_empty() {
                at = self.grow_member(at, name);
                depth += 1;
            }
            for _ in 0..(segment.len() - name.len()) / 2 {
                at = self.grow_element(at);
                depth += 1;
            }
        }
        assert!(depth < MAX_DEPTH, "path too deep: {path}");
        at
    }

    fn grow_member(&mut self, at: NodeId, name: &'static str) -> NodeId {
        let known = self.member(at, name.as_bytes());
        if known != DEAD {
            return known;
        }
        let id = self.grow();
        self.nodes[usize::from(at)].members.push((name.as_bytes(), id));
        id
    }

    fn grow_element(&mut self, at: NodeId) -> NodeId {
        let known = self.nodes[usize::from(at)].element;
        if known != DEAD {
            return known;
        }
        let id = self.grow();
        self.nodes[usize::from(at)].element = id;
        id
    }

    fn grow(&mut self) -> NodeId {
        assert!(self.nodes.len() < usize::from(DEAD), "too many paths in one dialect");
        self.nodes.push(Node { field: None, element: DEAD, members: Vec::new() });
        (self.nodes.len() - 1) as NodeId
    }
}
