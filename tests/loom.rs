//! Every interleaving of the parties to a request: its handler, its deadline, and the code that registers a cancel
//! hook.

#[path = "../src/server/dispatch/one_shot.rs"]
#[allow(dead_code)]
mod one_shot;

mod sync {
    pub(super) use loom::sync::Mutex;
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use one_shot::OneShot;

type Contend = fn(&OneShot<(), ()>) -> bool;

#[test]
fn a_request_is_answered_once_by_the_handler_or_by_its_deadline() {
    loom::model(|| {
        let once: Arc<OneShot<(), ()>> = Arc::new(OneShot::new(()));
        let answers = Arc::new(AtomicUsize::new(0));
        let contenders: [Contend; 2] = [|once| once.take().is_some(), |once| once.give_up().is_some()];
        let threads = contenders.map(|contend| {
            let (once, answers) = (once.clone(), answers.clone());
            thread::spawn(move || {
                if contend(&once) {
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for thread in threads {
            thread.join().expect("no thread panics");
        }
        assert_eq!(answers.load(Ordering::Relaxed), 1);
        assert!(!once.is_open());
    });
}

#[test]
fn work_is_stopped_exactly_when_it_was_given_up() {
    loom::model(|| {
        let once: Arc<OneShot<(), ()>> = Arc::new(OneShot::new(()));
        let stopped = Arc::new(AtomicUsize::new(0));
        let worker = {
            let (once, stopped) = (once.clone(), stopped.clone());
            thread::spawn(move || {
                if once.on_give_up(()).is_some() {
                    stopped.fetch_add(1, Ordering::Relaxed);
                }
                once.take().is_some()
            })
        };
        let deadline = {
            let (once, stopped) = (once.clone(), stopped.clone());
            thread::spawn(move || {
                let given_up = once.give_up();
                if let Some(((), Some(()))) = given_up {
                    stopped.fetch_add(1, Ordering::Relaxed);
                }
                given_up.is_some()
            })
        };
        let has_answered = worker.join().expect("no thread panics");
        let was_given_up = deadline.join().expect("no thread panics");
        assert_ne!(has_answered, was_given_up);
        assert_eq!(stopped.load(Ordering::Relaxed), usize::from(was_given_up));
    });
}
