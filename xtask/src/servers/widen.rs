//! The prebuilt llama-server computes on 4- and 8-bit weights with AVX-VNNI instructions, which many CPUs lack; on those
//! it is given the same model with its weights widened to 16 bits. Slower, same text.
//!
//! Layouts: GGUF version 3 (docs/gguf.md of the ggml repository), blocks as in its ggml-common.h.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

const F32: u32 = 0;
const F16: u32 = 1;
const Q4_1: u32 = 3;
const Q8_0: u32 = 8;
const ALIGNMENT: usize = 32;
/// Weights per block of the quantised types.
const BLOCK: usize = 32;

/// Whether the CPU has the instructions that the wheel's 4-bit code was compiled to.
pub fn needed() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|about| !about.contains("avx_vnni"))
}

/// Writes the model in FROM to TO with 16-bit weights.
pub fn write(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let wide = widened(&bytes).with_context(|| format!("{} is not a model of the expected kind", from.display()))?;
    let part = to.with_extension("part");
    fs::File::create(&part).and_then(|mut file| file.write_all(&wide)).context("cannot write the wide model")?;
    fs::rename(part, to).context("cannot rename the wide model")
}

struct Tensor<'a> {
    name: &'a [u8],
    shape: Vec<u64>,
    kind: u32,
    offset: usize,
}

impl Tensor<'_> {
    fn weights(&self) -> usize {
        self.shape.iter().product::<u64>() as usize
    }

    /// The type after widening.
    fn wide(&self) -> u32 {
        if self.kind == F32 { F32 } else { F16 }
    }

    fn wide_bytes(&self) -> usize {
        self.weights() * if self.wide() == F32 { 4 } else { 2 }
    }
}

fn widened(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut read = Reader { bytes, at: 0 };
    if read.take(4)? != b"GGUF" || read.u32()? != 3 {
        bail!("no GGUF version 3");
    }
    let (tensors, keys) = (read.u64()?, read.u64()?);
    for _ in 0..keys {
        read.text()?;
        let kind = read.u32()?;
        read.skip(kind)?;
    }
    let head = read.at;
    let tensors: Vec<Tensor> = (0..tensors).map(|_| read.tensor()).collect::<Result<_>>()?;
    let data = bytes.get(read.at.next_multiple_of(ALIGNMENT)..).context("the file is cut")?;

    let mut out = bytes[..head].to_vec();
    let mut offset = 0usize;
    for tensor in &tensors {
        out.extend((tensor.name.len() as u64).to_le_bytes());
        out.extend(tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().for_each(|size| out.extend(size.to_le_bytes()));
        out.extend(tensor.wide().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset = (offset + tensor.wide_bytes()).next_multiple_of(ALIGNMENT);
    }
    for tensor in &tensors {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        weights(tensor, data.get(tensor.offset..).context("the file is cut")?, &mut out)?;
    }
    Ok(out)
}

fn weights(tensor: &Tensor, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let blocks = tensor.weights() / BLOCK;
    let sized = |bytes: usize| data.get(..bytes).context("the file is cut");
    match tensor.kind {
        F32 => out.extend(sized(tensor.weights() * 4)?),
        F16 => out.extend(sized(tensor.weights() * 2)?),
        Q8_0 => sized(blocks * 34)?.chunks_exact(34).for_each(|block| {
            let scale = single(block[0], block[1]);
            block[2..].iter().for_each(|weight| out.extend(half(f32::from(*weight as i8) * scale).to_le_bytes()));
        }),
        Q4_1 => sized(blocks * 20)?.chunks_exact(20).for_each(|block| {
            let (scale, least) = (single(block[0], block[1]), single(block[2], block[3]));
            let low = block[4..].iter().map(|pair| pair & 15);
            let high = block[4..].iter().map(|pair| pair >> 4);
            low.chain(high).for_each(|weight| out.extend(half(f32::from(weight).mul_add(scale, least)).to_le_bytes()));
        }),
        other => bail!("weights of type {other}"),
    }
    Ok(())
}

/// IEEE 754 half to single precision.
fn single(low: u8, high: u8) -> f32 {
    let bits = u32::from(u16::from_le_bytes([low, high]));
    let (sign, exponent, fraction) = (bits >> 15 << 31, bits >> 10 & 31, bits & 1023);
    match exponent {
        0 => f32::from_bits(sign | 0x3f80_0000) * fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// IEEE 754 single to half precision; weights are far from its upper end, and what is below its lower end becomes 0.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    // Adding half a unit of the last place kept rounds to nearest.
    let rounded = (bits & 0x7fff_ffff) + 0x1000;
    match rounded >> 23 {
        0..113 => sign,
        exponent @ 113..143 => sign | ((exponent - 112) << 10) as u16 | (rounded >> 13 & 1023) as u16,
        _ => sign | 0x7bff,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        self.at = self.at.saturating_add(count);
        taken.context("the file is cut")
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into()?))
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let length = self.u64()?;
        self.take(usize::try_from(length)?)
    }

    /// Steps over a value of type KIND.
    fn skip(&mut self, kind: u32) -> Result<()> {
        match kind {
            0 | 1 | 7 => self.take(1).map(drop),
            2 | 3 => self.take(2).map(drop),
            4..=6 => self.take(4).map(drop),
            10..=12 => self.take(8).map(drop),
            8 => self.text().map(drop),
            9 => {
                let (element, count) = (self.u32()?, self.u64()?);
                (0..count).try_for_each(|_| self.skip(element))
            }
            other => bail!("a value of type {other}"),
        }
    }

    fn tensor(&mut self) -> Result<Tensor<'a>> {
        let name = self.text()?;
        let shape = (0..self.u32()?).map(|_| self.u64()).collect::<Result<_>>()?;
        let (kind, offset) = (self.u32()?, usize::try_from(self.u64()?)?);
        Ok(Tensor { name, shape, kind, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_back_is_exact_where_half_can_hold_it() {
        for value in [0.0, 1.0, -1.5, 0.099_975_586, 1024.0, 6.103_515_6e-5] {
            let [low, high] = half(value).to_le_bytes();
            assert_eq!(single(low, high), value);
        }
        assert_eq!(single(1, 0), 5.960_464_5e-8);
        assert_eq!(half(0.1), 0x2e66);
    }

    #[test]
    fn four_bit_blocks_hold_their_low_halves_first() {
        let tensor = Tensor { name: b"w", shape: vec![32], kind: Q4_1, offset: 0 };
        let mut block = [half(0.5).to_le_bytes(), half(1.0).to_le_bytes()].concat();
        block.extend([0x21; 16]);
        let mut out = Vec::new();
        weights(&tensor, &block, &mut out).expect("a whole block");
        assert_eq!(out[..2], half(1.5).to_le_bytes());
        assert_eq!(out[32..34], half(2.0).to_le_bytes());
    }

    #[test]
    fn a_cut_file_is_an_error() {
        assert!(widened(b"GGUF\x03\0\0\0\x01").is_err());
    }
}
