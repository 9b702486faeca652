//! Data blocks: short ones out of the input, long ones received into the memory they will live in.

use super::{Context, Flow, Input, Receiving, Session, State, Step};
use crate::command::counts::Service;
use crate::command::output::Output;
use crate::command::storing::Storing;
use crate::protocol::{self, MAX_PARTIAL_LINE};
use crate::store::NewValue;

impl Session {
    /// A short block is stored from the input once it is whole; a long one is received apart.
    pub(super) fn on_store(
        &mut self,
        storing: Storing<'_>,
        line: &[u8],
        line_len: usize,
        input: &mut Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        if storing.is_too_large(context) {
            storing.refuse_too_large(output, context);
            input.at += line_len;
            self.state = State::Swallowing(storing.len() + 2);
            return Flow::On;
        }
        let len = storing.len();
        let after = &input.rest()[line_len..];
        let apart = len > context.engine.store.inline_limit() || line_len > MAX_PARTIAL_LINE;
        if apart {
            input.at += line_len;
            let incoming = context.engine.store.incoming(len);
            self.state = State::Receiving(Box::new(Receiving { line: line.into(), incoming }));
            return Flow::On;
        }
        if after.len() < len + 2 {
            input.requests -= 1;
            return Flow::Stop(Step::Read);
        }
        input.served(Service::Set);
        let (value, end) = after[..len + 2].split_at(len);
        if end == b"\r\n" {
            storing.store(NewValue::Bytes(value), output, context);
        } else {
            storing.refuse_bad_chunk(output, context);
        }
        input.at += line_len + len + 2;
        Flow::On
    }

    /// Takes what has come of a block that is received apart, and stores it when it is whole.
    pub(super) fn on_block(
        &mut self,
        input: &mut Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        let State::Receiving(mut receiving) = std::mem::take(&mut self.state) else { return Flow::On };
        let request = protocol::parse(&receiving.line).ok().and_then(Storing::of);
        let storing = request.expect("the line was parsed when its block was announced");
        let incoming = &mut receiving.incoming;
        while incoming.missing() > 0 && !input.rest().is_empty() {
            let Some(space) = incoming.space() else {
                if context.engine.store.detached_excess() > 0 {
                    // Clients that hold too much of it and do not read are being ended.
                    self.state = State::Receiving(receiving);
                    return Flow::Stop(Step::Yield);
                }
                storing.refuse_no_memory(output, context);
                self.state = State::Swallowing(incoming.missing() + 2);
                return Flow::On;
            };
            let part = input.take(space.len());
            space[..part.len()].copy_from_slice(part);
            incoming.filled(part.len());
        }
        if incoming.missing() > 0 || input.rest().len() < 2 {
            self.state = State::Receiving(receiving);
            return Flow::Stop(Step::Read);
        }
        input.served(Service::Set);
        if input.take(2) == b"\r\n" {
            storing.store(NewValue::Received(receiving.incoming), output, context);
        } else {
            storing.refuse_bad_chunk(output, context);
        }
        Flow::On
    }
}
