//! The tiny model with random weights as one GGUF file, for llama.cpp: half a megabyte per thousand tokens.
//!
//! Layout: GGUF version 3, docs/gguf.md of the ggml repository. All integers little-endian, all weights f32.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::vocabulary::{BEGIN, CONTROL, END, Vocabulary, is_word};
use super::{CONTEXT, LAYERS, TEMPLATE};

const HIDDEN: usize = 64;
const FEED_FORWARD: usize = HIDDEN * 3;
const HEADS: usize = 2;
const ALIGNMENT: usize = 32;
const NORMAL: i32 = 1;
const CONTROL_TOKEN: i32 = 3;

/// Writes the model to FILE unless it is there; the same bytes every time.
pub fn write(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let vocabulary = Vocabulary::new();
    let (keys, tensors) = (keys(&vocabulary), tensors(&vocabulary));
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (name, value) in &keys {
        text(&mut out, name);
        value.write(&mut out);
    }
    let mut offset = 0;
    for tensor in &tensors {
        tensor.describe(&mut out, offset);
        offset = (offset + tensor.values.len() * 4).next_multiple_of(ALIGNMENT);
    }
    for tensor in &tensors {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        tensor.values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    }
    fs::write(file, out).with_context(|| format!("cannot write {}", file.display()))
}

enum Value {
    Number(usize),
    Real(f32),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i32>),
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let kind: u32 = match self {
            Self::Number(_) => 4,
            Self::Real(_) => 6,
            Self::Flag(_) => 7,
            Self::Text(_) => 8,
            Self::Texts(_) | Self::Integers(_) => 9,
        };
        out.extend(kind.to_le_bytes());
        match self {
            Self::Number(number) => out.extend((*number as u32).to_le_bytes()),
            Self::Real(real) => out.extend(real.to_le_bytes()),
            Self::Flag(flag) => out.push(u8::from(*flag)),
            Self::Text(value) => text(out, value),
            Self::Texts(values) => {
                out.extend(8u32.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| text(out, value));
            }
            Self::Integers(values) => {
                out.extend(5u32.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

fn keys(vocabulary: &Vocabulary) -> Vec<(&'static str, Value)> {
    let kind = |(id, _)| if id < CONTROL.len() { CONTROL_TOKEN } else { NORMAL };
    let merges = vocabulary.merges.iter().map(|(left, right)| format!("{left} {right}"));
    vec![
        ("general.architecture", Value::Text("llama".into())),
        ("general.name", Value::Text("tiny random llama".into())),
        ("general.file_type", Value::Number(0)),
        ("llama.context_length", Value::Number(CONTEXT)),
        ("llama.embedding_length", Value::Number(HIDDEN)),
        ("llama.block_count", Value::Number(LAYERS)),
        ("llama.feed_forward_length", Value::Number(FEED_FORWARD)),
        ("llama.attention.head_count", Value::Number(HEADS)),
        ("llama.attention.head_count_kv", Value::Number(HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::Real(1e-5)),
        ("llama.rope.dimension_count", Value::Number(HIDDEN / HEADS)),
        ("llama.rope.freq_base", Value::Real(10000.0)),
        ("llama.vocab_size", Value::Number(vocabulary.tokens.len())),
        ("tokenizer.ggml.model", Value::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Value::Text("gpt-2".into())),
        ("tokenizer.ggml.tokens", Value::Texts(vocabulary.tokens.clone())),
        ("tokenizer.ggml.token_type", Value::Integers(vocabulary.tokens.iter().enumerate().map(kind).collect())),
        ("tokenizer.ggml.merges", Value::Texts(merges.collect())),
        ("tokenizer.ggml.bos_token_id", Value::Number(BEGIN)),
        ("tokenizer.ggml.eos_token_id", Value::Number(END)),
        ("tokenizer.ggml.add_bos_token", Value::Flag(false)),
        ("tokenizer.chat_template", Value::Text(TEMPLATE.into())),
    ]
}

/// ROWS by COLUMNS numbers; a vector has one row.
struct Tensor {
    name: String,
    columns: usize,
    values: Vec<f32>,
}

impl Tensor {
    fn describe(&self, out: &mut Vec<u8>, offset: usize) {
        let rows = self.values.len() / self.columns;
        let shape = if rows == 1 { vec![self.columns] } else { vec![self.columns, rows] };
        text(out, &self.name);
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend(0u32.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
    }
}

fn tensors(vocabulary: &Vocabulary) -> Vec<Tensor> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut tensors = Vec::new();
    let mut add = |name: String, columns: usize, values: Vec<f32>| tensors.push(Tensor { name, columns, values });
    let words = vocabulary.tokens.len();
    add("token_embd.weight".into(), HIDDEN, random.normals(words * HIDDEN, 0.5));
    add("output_norm.weight".into(), HIDDEN, vec![1.0; HIDDEN]);
    // Everything that is no word gets logit 0, so greedy sampling says words and never ends by itself.
    let speak = |token: &String| if is_word(token) { random.normals(HIDDEN, 1.0) } else { vec![0.0; HIDDEN] };
    add("output.weight".into(), HIDDEN, vocabulary.tokens.iter().flat_map(speak).collect());
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        for part in ["attn_norm", "ffn_norm"] {
            add(name(part), HIDDEN, vec![1.0; HIDDEN]);
        }
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            add(name(part), HIDDEN, random.normals(HIDDEN * HIDDEN, 0.5));
        }
        for part in ["ffn_gate", "ffn_up"] {
            add(name(part), HIDDEN, random.normals(HIDDEN * FEED_FORWARD, 0.5));
        }
        add(name("ffn_down"), FEED_FORWARD, random.normals(HIDDEN * FEED_FORWARD, 0.5));
    }
    tensors
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.bytes());
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn normals(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal() * deviation).collect()
    }

    /// The sum of twelve uniform numbers, less six, is as good as normal here.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }
}
