//! Hand-made messages of several versions, and what no bytes may do.
