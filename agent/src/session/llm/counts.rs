//! Token counts as documents give them, in the several ways that engines have, and what they come to.

use super::field::Field;

/// What is known so far of an exchange's, or of one document's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cached: Option<u64>,
    cache_read: Option<u64>,
    input_otherwise: Option<u64>,
    output_otherwise: Option<u64>,
    prompt_computed: Option<u64>,
    prompt_cached: Option<u64>,
    predicted: Option<u64>,
    /// There is more than one choice, so that timings are those of a part.
    several: bool,
    /// Parts of a whole are all that is known.
    partial: bool,
    /// The document that gave the counts had a choice in it, whose counts they may be.
    pub of_choice: bool,
    /// How many documents the input was added up of.
    inputs: u64,
}

/// What a request asks for several of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    choices: Option<u64>,
    /// Of each prompt another number of completions, maybe.
    uneven: bool,
    prompts: u64,
    /// The only prompt is a list with tokens in it.
    tokens: bool,
    /// Not all of the request was seen.
    pub unseen: bool,
}

impl Asked {
    /// A number at its place in the request.
    pub fn number(&mut self, field: Field, number: u64) {
        match field {
            Field::Choices => self.choices = Some(number),
            Field::ChoicesEach => self.uneven |= number > 1,
            Field::PromptEach => self.tokens = true,
            _ => {}
        }
    }

    /// A prompt in a list of them.
    pub fn prompt(&mut self) {
        self.prompts = self.prompts.saturating_add(1);
    }

    fn choices(&self) -> u64 {
        self.choices.unwrap_or(1).max(1)
    }

    fn is_batch(&self) -> bool {
        self.prompts > 1 && !self.tokens
    }
}

impl Counts {
    /// A count at its place in a document.
    pub fn set(&mut self, field: Field, number: u64) {
        let add = |sum: &mut Option<u64>| *sum = Some(sum.unwrap_or(0).saturating_add(number));
        match field {
            Field::Input => self.input = Some(number),
            Field::Output => self.output = Some(number),
            Field::Cached => self.cached = Some(number),
            Field::CacheRead => self.cache_read = Some(number),
            Field::InputOtherwise => self.input_otherwise = Some(number),
            Field::PromptComputed => self.prompt_computed = Some(number),
            Field::PromptCached => self.prompt_cached = Some(number),
            Field::Predicted => self.predicted = Some(number),
            Field::InputEach => {
                add(&mut self.input);
                self.inputs = self.inputs.saturating_add(1);
            }
            Field::OutputEach => add(&mut self.output),
            Field::BatchIndex => {
                self.partial |= number > 0;
                self.of_choice = true;
            }
            Field::ChoiceIndex => self.several |= number > 0,
            _ => {}
        }
    }

    /// Counts that the response's headers carry; the body's come first.
    pub fn in_headers(&mut self, input: Option<u64>, output: Option<u64>) {
        self.input_otherwise = input.or(self.input_otherwise);
        self.output_otherwise = output.or(self.output_otherwise);
    }

    /// Adds a later document's: what it says holds.
    pub fn merge(&mut self, new: &Self) {
        let later = |old: &mut Option<u64>, new: Option<u64>| *old = new.or(*old);
        later(&mut self.input, new.input);
        later(&mut self.output, new.output);
        later(&mut self.cached, new.cached);
        later(&mut self.cache_read, new.cache_read);
        later(&mut self.input_otherwise, new.input_otherwise);
        later(&mut self.output_otherwise, new.output_otherwise);
        later(&mut self.prompt_computed, new.prompt_computed);
        later(&mut self.prompt_cached, new.prompt_cached);
        later(&mut self.predicted, new.predicted);
        self.several |= new.several;
        self.partial |= new.partial;
        if new.any() {
            (self.of_choice, self.inputs) = (new.of_choice, new.inputs);
        }
    }

    /// Sets right what the request tells the meaning of. `cut`: a stream that was not seen to its end.
    pub fn settle(&mut self, asked: &Asked, cut: bool) {
        let choices = asked.choices();
        if self.inputs > 0 && (asked.uneven || choices > 1) {
            // Each completion says its prompt's tokens again.
            let even = !asked.uneven && self.inputs.is_multiple_of(choices);
            self.input = self.input.filter(|_| even).map(|input| input / choices);
        }
        if cut && self.of_choice && (self.several || asked.uneven || choices > 1 || asked.is_batch()) {
            // The usage that came last is one choice's, and of one prompt.
            self.several = true;
            (self.output, self.output_otherwise) = (None, None);
            let one_prompt = choices > 1 && !asked.is_batch() && !asked.unseen;
            if !one_prompt {
                (self.input, self.input_otherwise) = (None, None);
                (self.cached, self.cache_read) = (None, None);
            }
        }
    }

    /// How many requests of an engine the exchange takes at least: one for each choice of each prompt.
    pub fn parts(&self, asked: &Asked) -> u64 {
        let prompts = if asked.is_batch() { asked.prompts } else { 1 };
        let seen = if self.several || self.partial { 2 } else { 1 };
        asked.choices().saturating_mul(prompts).max(self.inputs).max(seen)
    }

    pub fn any(&self) -> bool {
        self.input.or(self.output).is_some()
    }

    /// The figure that the client gets. OpenAI's dialects count cached tokens into it, Anthropic's does not.
    pub fn input_tokens(&self) -> Option<u64> {
        let usage = self.input.or(self.input_otherwise);
        let timings = self.prompt_computed.map(|n| n.saturating_add(self.prompt_cached.unwrap_or(0)));
        self.best(usage, timings)
    }

    pub fn output_tokens(&self) -> Option<u64> {
        self.best(self.output.or(self.output_otherwise), self.predicted)
    }

    pub fn cached_tokens(&self) -> Option<u64> {
        self.best(self.cached.or(self.cache_read), self.prompt_cached)
    }

    fn best(&self, usage: Option<u64>, timings: Option<u64>) -> Option<u64> {
        usage.or(timings.filter(|_| !self.several)).filter(|_| !self.partial)
    }
}
