//! The ring: starts operations, owns what they need, and says what has become of them.

use crate::buffers::{Buffers, GROUP, Received};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use mio::Poll;
use slab::Slab;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::time::Duration;

/// Something to be sent.
pub trait Payload {
    /// Fills `slices` with what is to be sent next, in order, and says how many were filled.
    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize;
}

/// One thread's sockets. `P` is what is sent, `G` is kept with a socket until it is closed.
///
/// Invariant: an operation is in `operations` from before it is queued until its last completion has been taken.
pub struct Ring<P, G> {
    /// Dropped first, when nothing is left in flight.
    ring: IoUring,
    buffers: Rc<Buffers>,
    sockets: Slab<Open<G>>,
    operations: Slab<Operation<P>>,
    /// Entries that found the submission queue full. At most two for each operation.
    waiting: VecDeque<squeue::Entry>,
    /// Memory for sends, to be used again.
    spare: Vec<Box<Sending<P>>>,
    /// What has been watched and is not.
    unwatched: Option<OwnedFd>,
}

/// A socket of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket(u32);

/// What has become of an operation. Tokens are those of [`Ring::add`].
pub enum Completion<P> {
    /// Something was received, or receiving has stopped.
    Received {
        /// The socket's.
        token: usize,
        /// What came.
        arrival: Arrival,
    },
    /// A send is over.
    Sent {
        /// The socket's.
        token: usize,
        /// What was to be sent.
        payload: P,
        /// How many bytes of it were.
        count: io::Result<usize>,
    },
    /// The watched poll has something to tell: see to it, then call [`Ring::watch_on`].
    Watched,
}

/// What receiving has led to.
pub enum Arrival {
    /// These bytes.
    Bytes(Received),
    /// The other side sends nothing more.
    End,
    /// Nothing, but [`Ring::is_receiving`] may have changed: receiving was told to stop, or there was no buffer.
    Nothing,
    /// The socket is broken.
    Failed(io::Error),
}

/// A socket, its operations, and whom they concern.
struct Open<G> {
    fd: OwnedFd,
    token: usize,
    receive: Option<u32>,
    send: Option<u32>,
    closed: bool,
    _guard: G,
}

enum Operation<P> {
    Receive(Socket),
    /// The box that the kernel reads from. Nothing else looks at it before the operation is over.
    Send(Socket, NonNull<Sending<P>>),
    Watch(OwnedFd),
}

/// A send in flight: the payload, and where its bytes are.
struct Sending<P> {
    payload: Option<P>,
    slices: [libc::iovec; SLICES],
    header: libc::msghdr,
}

/// Slices of one send.
const SLICES: usize = 32;

/// Submission queue; more entries wait. The completion queue is longer: 64 KiB.
const ENTRIES: u32 = 512;
const COMPLETIONS: u32 = 4096;

/// Boxes kept for the next sends.
const SPARE: usize = 256;

/// The number of what is answered with nothing.
const IGNORED: u64 = u64::MAX;

/// How often a ring that is dropped looks for its last completions, and how long each time.
const LAST_ROUNDS: usize = 20;
const LAST_ROUND: Duration = Duration::from_millis(100);

impl<P: Payload + 'static, G> Ring<P, G> {
    /// A ring that receives into `buffers` (a power of two) buffers of `buffer_len` bytes. Fails where the kernel is older
    /// than 6.1 or does not permit it. It is for the thread that makes it.
    pub fn new(buffers: u16, buffer_len: u32) -> io::Result<Ring<P, G>> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        let buffers = Buffers::register(&ring, buffers, buffer_len)?;
        Ok(Ring {
            ring,
            buffers,
            sockets: Slab::new(),
            operations: Slab::new(),
            waiting: VecDeque::new(),
            spare: Vec::new(),
            unwatched: None,
        })
    }

    /// Takes a connected socket that blocks. `guard` is dropped when it is closed at last.
    pub fn add(&mut self, fd: OwnedFd, token: usize, guard: G) -> Socket {
        let open = Open { fd, token, receive: None, send: None, closed: false, _guard: guard };
        Socket(number(self.sockets.insert(open)))
    }

    /// Receives from now on whatever comes.
    pub fn receive(&mut self, socket: Socket) {
        let Some(open) = self.sockets.get_mut(socket.0 as usize).filter(|open| open.receive.is_none()) else {
            return;
        };
        let key = self.operations.insert(Operation::Receive(socket));
        open.receive = Some(number(key));
        let entry = opcode::RecvMulti::new(Fd(open.fd.as_raw_fd()), GROUP).build().user_data(key as u64);
        self.push(entry);
    }

    /// Whether it receives: false from the completion that ends it on.
    pub fn is_receiving(&self, socket: Socket) -> bool {
        self.sockets.get(socket.0 as usize).is_some_and(|open| open.receive.is_some())
    }

    /// Stops receiving. What has been received already still comes, then [`Arrival::Nothing`].
    pub fn stop_receiving(&mut self, socket: Socket) {
        if let Some(key) = self.sockets.get(socket.0 as usize).and_then(|open| open.receive) {
            self.cancel(key);
        }
    }

    /// Starts to send, or gives back what cannot be sent because something is on its way already or there is nothing.
    pub fn send(&mut self, socket: Socket, payload: P) -> Result<(), P> {
        let open = self.sockets.get_mut(socket.0 as usize);
        let Some(open) = open.filter(|open| open.send.is_none() && !open.closed) else { return Err(payload) };
        let mut sending = self.spare.pop().unwrap_or_else(Sending::new);
        sending.payload = Some(payload);
        let sending = NonNull::from(Box::leak(sending));
        // SAFETY: the box was leaked just now, so this is the only way to it.
        let message = match unsafe { Sending::point(sending) } {
            Some(message) => message,
            // SAFETY: as above, and the kernel has heard nothing of it.
            None => return Err(unsafe { self.take_back(sending) }),
        };
        let key = self.operations.insert(Operation::Send(socket, sending));
        open.send = Some(number(key));
        let fd = Fd(open.fd.as_raw_fd());
        let entry = match message {
            Message::One(slice) => {
                opcode::Send::new(fd, slice.iov_base.cast(), slice.iov_len.min(MOST) as u32)
                    .flags(libc::MSG_NOSIGNAL)
                    .build()
            }
            Message::Many(header) => {
                opcode::SendMsg::new(fd, header).flags(libc::MSG_NOSIGNAL as u32).build()
            }
        };
        self.push(entry.user_data(key as u64));
        Ok(())
    }

    /// Whether something is on its way.
    pub fn is_sending(&self, socket: Socket) -> bool {
        self.sockets.get(socket.0 as usize).is_some_and(|open| open.send.is_some())
    }

    /// Closes it as soon as the kernel is done with it, and says nothing more of it. What has not been sent is dropped.
    pub fn close(&mut self, socket: Socket) {
        let Some(open) = self.sockets.get_mut(socket.0 as usize) else { return };
        open.closed = true;
        let (receive, send) = (open.receive, open.send);
        if receive.is_none() && send.is_none() {
            self.sockets.remove(socket.0 as usize);
            return;
        }
        for key in [receive, send].into_iter().flatten() {
            self.cancel(key);
        }
    }

    /// Watches a poll: [`Completion::Watched`] comes when it has something to tell.
    pub fn watch(&mut self, poll: &Poll) -> io::Result<()> {
        // SAFETY: the descriptor is the poll's, which is borrowed meanwhile.
        let fd = unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) };
        self.unwatched = Some(fd.try_clone_to_owned()?);
        self.watch_on();
        Ok(())
    }

    /// Watches on, after a [`Completion::Watched`]. It comes again at once if the poll has something to tell already.
    pub fn watch_on(&mut self) {
        let Some(fd) = self.unwatched.take() else { return };
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLIN as u32).build();
        let key = self.operations.insert(Operation::Watch(fd));
        self.push(entry.user_data(key as u64));
    }

    /// Starts what has been asked for, and waits for a completion or until the time is over.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.fill_queue();
        let result = match timeout {
            None => self.ring.submitter().submit_and_wait(1),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
        };
        match result.err().and_then(|error| error.raw_os_error()) {
            // Time is over; a signal; completions are to be taken first; no memory for now.
            None | Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// The next completion that has come.
    pub fn completion(&mut self) -> Option<Completion<P>> {
        loop {
            let entry = self.entry()?;
            if entry.user_data() == IGNORED {
                continue;
            }
            if let Some(completion) = self.complete(&entry) {
                return Some(completion);
            }
        }
    }

    /// What a completion says, unless it concerns a socket that was closed.
    fn complete(&mut self, entry: &cqueue::Entry) -> Option<Completion<P>> {
        let (key, result) = (entry.user_data() as usize, entry.result());
        let more = cqueue::more(entry.flags());
        // SAFETY: this completion of a receive names a buffer that the kernel has taken from the list and filled; it has
        // not been named before. `result` is how many bytes it has written.
        let received = cqueue::buffer_select(entry.flags())
            .map(|id| unsafe { self.buffers.received(id, result.max(0) as u32) });
        if more {
            let Some(Operation::Receive(socket)) = self.operations.get(key) else { return None };
            let open = self.sockets.get(socket.0 as usize).filter(|open| !open.closed)?;
            return Some(Completion::Received { token: open.token, arrival: arrival(result, received) });
        }
        match self.operations.try_remove(key)? {
            Operation::Watch(fd) => {
                self.unwatched = Some(fd);
                Some(Completion::Watched)
            }
            Operation::Receive(socket) => {
                let open = self.sockets.get_mut(socket.0 as usize)?;
                open.receive = None;
                let token = open.token;
                self.unless_closed(socket)?;
                Some(Completion::Received { token, arrival: arrival(result, received) })
            }
            Operation::Send(socket, sending) => {
                // SAFETY: this was the send's last completion, so the kernel is done with the box; its operation has just
                // been removed, so nobody else has the pointer.
                let payload = unsafe { self.take_back(sending) };
                let open = self.sockets.get_mut(socket.0 as usize)?;
                open.send = None;
                let token = open.token;
                self.unless_closed(socket)?;
                let count = match result {
                    0.. => Ok(result as usize),
                    code => Err(io::Error::from_raw_os_error(-code)),
                };
                Some(Completion::Sent { token, payload, count })
            }
        }
    }

    /// Forgets a closed socket whose last operation is over.
    fn unless_closed(&mut self, socket: Socket) -> Option<()> {
        let open = self.sockets.get(socket.0 as usize)?;
        if !open.closed {
            return Some(());
        }
        if open.receive.is_none() && open.send.is_none() {
            self.sockets.remove(socket.0 as usize);
        }
        None
    }
}

impl<P, G> Ring<P, G> {
    fn cancel(&mut self, key: u32) {
        self.push(opcode::AsyncCancel::new(u64::from(key)).build().user_data(IGNORED));
    }

    fn entry(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Queues an entry, after those that wait. What it points to is owned by its operation, which is in `operations`.
    fn push(&mut self, entry: squeue::Entry) {
        self.waiting.push_back(entry);
        self.fill_queue();
    }

    /// Moves entries into the submission queue, and the queue to the kernel while more wait.
    fn fill_queue(&mut self) {
        while let Some(entry) = self.waiting.front() {
            // SAFETY: the memory and the descriptor that an entry names belong to its operation or its socket, which stay
            // until the last completion of it; a cancellation names nothing.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                self.waiting.pop_front();
            } else if !self.ring.submitter().submit().is_ok_and(|count| count > 0) {
                // The kernel takes nothing now: the next wait tries again.
                return;
            }
        }
    }

    /// The payload of a send that is over, and its box for the next one.
    ///
    /// # Safety
    ///
    /// `sending` comes from `Box::leak`, nobody else uses it, and the kernel does not either.
    unsafe fn take_back(&mut self, sending: NonNull<Sending<P>>) -> P {
        // SAFETY: as the caller says.
        let mut sending = unsafe { Box::from_raw(sending.as_ptr()) };
        let payload = sending.payload.take().expect("a send in flight has its payload");
        if self.spare.len() < SPARE {
            self.spare.push(sending);
        }
        payload
    }
}

impl<P, G> Drop for Ring<P, G> {
    /// Cancels everything and waits for the end of it. What does not end is leaked.
    fn drop(&mut self) {
        for _ in 0..LAST_ROUNDS {
            if self.operations.is_empty() {
                return;
            }
            self.push(opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(IGNORED));
            let timeout = Timespec::from(LAST_ROUND);
            let _ = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout));
            while let Some(entry) = self.entry() {
                if entry.user_data() == IGNORED || cqueue::more(entry.flags()) {
                    continue;
                }
                let operation = self.operations.try_remove(entry.user_data() as usize);
                if let Some(Operation::Send(_, sending)) = operation {
                    // SAFETY: as in `complete`.
                    drop(unsafe { self.take_back(sending) });
                }
            }
        }
        // Boxes of sends are leaked by themselves: only pointers to them are left.
        std::mem::forget(self.buffers.clone());
    }
}

/// How the kernel is told of a send.
enum Message {
    One(libc::iovec),
    Many(*const libc::msghdr),
}

/// Most bytes of one send: what a `u32` holds, with room.
const MOST: usize = 1 << 30;

impl<P> Sending<P> {
    fn new() -> Box<Sending<P>> {
        // SAFETY: a header of zeroes is one that names nothing.
        let header = unsafe { std::mem::zeroed() };
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Box::new(Sending { payload: None, slices: [nothing; SLICES], header })
    }
}

impl<P: Payload + 'static> Sending<P> {
    /// Notes where the payload's bytes are; nothing if it has none.
    ///
    /// # Safety
    ///
    /// `this` is a leaked box that nobody else uses. What is returned is good until the box is taken back: until then
    /// the payload is only borrowed, and does not move.
    unsafe fn point(this: NonNull<Sending<P>>) -> Option<Message> {
        let this = this.as_ptr();
        // SAFETY: as the caller says. The payload is borrowed for as long as it stays in the leaked box, which is longer
        // than this function; nobody borrows it otherwise meanwhile.
        let payload: &'static P = unsafe { (*ptr::addr_of!((*this).payload)).as_ref()? };
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = payload.slices(&mut slices).min(SLICES);
        // SAFETY: as the caller says; the payload is another field.
        let (to, header) = unsafe { (&mut (*this).slices, &mut (*this).header) };
        for (to, slice) in to.iter_mut().zip(&slices[..count]) {
            *to = libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() };
        }
        match count {
            0 => None,
            1 => Some(Message::One(to[0])),
            _ => {
                header.msg_iov = to.as_mut_ptr();
                header.msg_iovlen = count as _;
                Some(Message::Many(header))
            }
        }
    }
}

fn arrival(result: i32, received: Option<Received>) -> Arrival {
    match (result, received) {
        (1.., Some(received)) => Arrival::Bytes(received),
        (0, _) => Arrival::End,
        (code, _) => match -code {
            libc::ECANCELED | libc::ENOBUFS | libc::EINTR | libc::EAGAIN => Arrival::Nothing,
            code => Arrival::Failed(io::Error::from_raw_os_error(code)),
        },
    }
}

/// Numbers of sockets and operations are as few as descriptors.
fn number(key: usize) -> u32 {
    u32::try_from(key).expect("fewer than four billion operations")
}
