//! LLM dialects: what a request and its response mean. Each dialect is one file and one row of the table here.
