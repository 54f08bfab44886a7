//! A server of several processes: its endpoints are opened once, and served by processes that are forked afterwards.

use crate::address::Address;
use crate::server::context::Common;
use crate::server::dispatch::rates::ListenerRates;
use crate::server::endpoint::Endpoint;
use crate::server::error::ServerError;
use crate::server::lifecycle::Server;
use crate::server::listener::fifo;
use crate::server::multiprocess::fifo_stream::FifoStream;
use crate::server::multiprocess::in_flight::InFlightTable;
use crate::server::multiprocess::recovery::Answer;
use crate::server::options::ListenOptions;

impl Server {
    /// Opens all endpoints, for processes that are forked afterwards, and makes what these have in common. No thread
    /// is begun.
    /// Counts of other threads during the call may be lost.
    pub fn bind(&self, workers: usize) -> Result<(), ServerError> {
        let mut state = self.lock();
        state.bound = self.open_all(&state)?;
        state.is_divided = true;
        self.service.share().map_err(ServerError::Memory)?;
        let stream = |(endpoint, (_, options)): (&Endpoint, &(Address, ListenOptions))| {
            let room = options.request_limit + fifo::BUFFER;
            matches!(endpoint, Endpoint::Fifo { .. }).then(|| FifoStream::new(room, fifo::BUFFER)).transpose()
        };
        let streams: Result<Vec<_>, _> = state.bound.iter().zip(&state.endpoints).map(stream).collect();
        let rates: Result<Vec<_>, _> =
            state.endpoints.iter().map(|(_, options)| ListenerRates::new(options)).collect();
        state.common = Some(Common {
            slots: InFlightTable::new(workers).map_err(ServerError::Memory)?,
            streams: streams.map_err(ServerError::Memory)?.into(),
            rates: rates.map_err(ServerError::Memory)?.into(),
        });
        Ok(())
    }

    /// Takes over the requests of a dead worker: [`Server::answer_orphans`] will answer its clients, and the bytes that
    /// it read from FIFOs wait for the next reader.
    pub fn recover(&self, rank: u16) {
        let mut state = self.lock();
        self.service.statistics.clear_gauges(rank);
        let Some(common) = state.common.clone() else { return };
        let mut answers = Vec::new();
        common.slots.recover(
            rank.into(),
            |endpoint, place| {
                if let Some(Some(stream)) = common.streams.get(endpoint) {
                    stream.catch_up(place);
                }
            },
            |endpoint, orphan| {
                let options = state.endpoints.get(endpoint).map(|(_, options)| options);
                answers
                    .extend(options.and_then(|options| Answer::to(&orphan, endpoint, options, self.service.dialect)));
            },
        );
        state.answers.extend(answers);
    }

    /// Answers for dead workers where no write would block. Returns the number of answers that wait.
    pub fn answer_orphans(&self) -> usize {
        let mut state = self.lock();
        let mut answers = std::mem::take(&mut state.answers);
        answers.retain(|answer| answer.must_wait(&state.bound));
        state.answers = answers;
        state.answers.len()
    }

    /// In a forked process: begins to serve what was bound before, but for FIFOs, which one process reads.
    pub fn serve_bound(&self, rank: u16) -> Result<(), ServerError> {
        let mut state = self.lock();
        if state.running.is_some() {
            return Err(ServerError::Running);
        }
        self.service.statistics.set_rank(rank);
        let mut bound = std::mem::take(&mut state.bound);
        bound.iter_mut().for_each(Endpoint::leave);
        let shared = state.common.clone().map(|common| (rank, common));
        state.running = Some(self.serve(&state.endpoints, bound, shared)?);
        Ok(())
    }

    /// In a forked process: reads the FIFOs from now on.
    pub fn read_fifos(&self) {
        if let Some(running) = &mut self.lock().running {
            for listener in std::mem::take(&mut running.unread) {
                if let Err(error) = running.begin(listener) {
                    log::error!("a FIFO is not read: {error}");
                }
            }
        }
    }

    /// Makes removed or replaced FIFOs again, and returns a message for each, and for each failure.
    pub fn restore(&self) -> Vec<String> {
        let mut state = self.lock();
        let restored = state.bound.iter_mut().filter_map(|endpoint| match endpoint {
            Endpoint::Fifo { fifo, address, .. } => match fifo.restore() {
                Ok(false) => None,
                Ok(true) => Some(format!("{address} was removed or replaced; it is back")),
                Err(error) => Some(error.to_string()),
            },
            _ => None,
        });
        restored.collect()
    }

    /// Closes what was bound, and removes its files. The server is one process again.
    pub fn unbind(&self) {
        let mut state = self.lock();
        state.bound.clear();
        state.answers.clear();
        state.common = None;
        state.is_divided = false;
        self.service.processes.clear();
        self.service.events.close();
    }
}
