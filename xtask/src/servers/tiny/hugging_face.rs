//! The tiny model as a directory that transformers and vLLM read: tokenizer and shape, no weights.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::vocabulary::{BEGIN, CONTROL, END, PAD, Vocabulary};
use super::{CONTEXT, LAYERS, TEMPLATE};

const HIDDEN: usize = 256;
const HEADS: usize = 4;

/// Writes the files into DIR.
pub fn write(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let vocabulary = Vocabulary::new();
    let files = [
        ("tokenizer.json", tokenizer(&vocabulary)),
        ("tokenizer_config.json", tokenizer_config()),
        ("config.json", shape(vocabulary.tokens.len())),
        ("generation_config.json", json!({"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD})),
    ];
    for (name, value) in files {
        fs::write(dir.join(name), value.to_string()).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

fn tokenizer(vocabulary: &Vocabulary) -> Value {
    let control = |(id, content): (usize, &&str)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let ids: serde_json::Map<String, Value> =
        vocabulary.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": CONTROL.iter().enumerate().map(control).collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": ids,
            "merges": vocabulary.merges.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>(),
        },
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "chat_template": TEMPLATE,
        "bos_token": CONTROL[BEGIN], "eos_token": CONTROL[END], "pad_token": CONTROL[PAD], "unk_token": "<unk>",
        "clean_up_tokenization_spaces": false,
    })
}

fn shape(vocabulary: usize) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN * 3, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "head_dim": HIDDEN / HEADS, "vocab_size": vocabulary,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD, "tie_word_embeddings": false,
        "torch_dtype": "float32",
    })
}
