//! A random Llama model of two layers, small enough to make here, in the two forms that engines read.
//!
//! It talks in made-up words, so that every token is clean text: random bytes make servers hold text back.

mod gguf;
mod hugging_face;
mod vocabulary;

pub use gguf::write as gguf;
pub use hugging_face::write as hugging_face;

const LAYERS: usize = 2;
const CONTEXT: usize = 4096;
const TEMPLATE: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
