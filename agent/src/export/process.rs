//! Families from /proc at a scrape.
