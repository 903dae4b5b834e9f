//! GPU families at a scrape.
