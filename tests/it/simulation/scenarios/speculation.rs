//! A test that takes far longer than expected is tried a second time.

use cloudist::scheduler::{Ending, Marks, Speculated};

use super::*;

impl Story {
    /// Two workers on two machines, each with a file of one test; the second is done after half a second, the first isn't.
    fn straggles(marks: &[(u32, Marks)]) -> Self {
        let mut story = Story::new(Config { speculate: true, ..config(Mode::Test, Collect::Stream, 2) }).with(2, 2);
        story.tell(Input::Marked { file: FileId(0), tests: marks.to_vec() });
        story.collects(0, 0, 1);
        story.collects(1, 1, 1);
        story.passes(Duration::from_millis(500));
        assert_eq!(story.finishes(1, test(1, 0)), []);
        story
    }

    fn tried_again(mut self) -> Self {
        assert_eq!(self.wakes(), [run(1, 0, [0])]);
        assert_eq!(self.scheduler.next_deadline(), None);
        self
    }

    fn speculated(&self) -> (u32, u32) {
        let Speculated { begun, won } = self.scheduler.speculated();
        (begun, won)
    }
}

fn interrupt(worker: u32) -> Action {
    Action::CloseWorker { worker: gw(worker), interrupt: true }
}

const OVER: Action = Action::Finished { ending: Ending::Complete };

#[test]
fn only_when_it_is_asked_for() {
    let mut story = Story::streaming().with(2, 2);
    story.collects(0, 0, 1);
    story.collects(1, 1, 1);
    story.passes(Duration::from_millis(500)).finishes(1, test(1, 0));
    assert_eq!(story.scheduler.next_deadline(), None);
}

#[test]
fn the_second_try_counts_if_it_ends_first() {
    let mut story = Story::straggles(&[]).tried_again();
    assert_eq!(story.finishes(1, test(0, 0)), [interrupt(0), close(1), OVER]);
    assert_eq!(story.verdict, Verdict::Accepted);
    story.finishes(0, test(0, 0));
    assert_eq!(story.verdict, Verdict::Stale);
    assert_eq!(story.speculated(), (1, 1));
}

#[test]
fn it_counts_for_nothing_if_it_does_not() {
    let mut story = Story::straggles(&[]).tried_again();
    assert_eq!(story.finishes(0, test(0, 0)), [close(0), interrupt(1), OVER]);
    story.finishes(1, test(0, 0));
    assert_eq!(story.verdict, Verdict::Stale);
    assert_eq!(story.speculated(), (1, 0));
}

#[test]
fn if_a_machine_is_lost_the_other_try_goes_on() {
    let mut story = Story::straggles(&[]).tried_again();
    assert_eq!(story.loses(HERE), []);
    assert_eq!(story.finishes(1, test(0, 0)), [close(1), OVER]);
    let mut story = Story::straggles(&[]).tried_again();
    assert_eq!(story.loses(THERE), []);
    assert_eq!(story.finishes(0, test(0, 0)), [close(0), OVER]);
}

#[test]
fn if_both_machines_are_lost_it_is_begun_anew() {
    let mut story = Story::straggles(&[]).tried_again();
    story.loses(HERE);
    story.loses(THERE);
    assert_eq!(story.joins(2, MachineId(2)), [run(2, 0, [0])]);
    assert_eq!(story.scheduler.attempts_lost(test(0, 0)), 2);
}

#[test]
fn a_process_that_a_try_ends_is_the_outcome() {
    let mut story = Story::straggles(&[]).tried_again();
    assert_eq!(story.dies(1, Some(test(0, 0)), None), [interrupt(0), OVER]);
    assert_eq!(story.verdict, Verdict::Accepted);
}

#[test]
fn one_that_cannot_be_found_elsewhere_is_waited_for() {
    let mut story = Story::straggles(&[]).tried_again();
    assert_eq!(story.tell(Input::Missing { worker: gw(1), tests: vec![test(0, 0)] }), []);
    assert_eq!(story.scheduler.next_deadline(), None);
    assert_eq!(story.finishes(0, test(0, 0)), [close(0), close(1), OVER]);
}

#[test]
fn a_worker_whose_try_is_beaten_gets_more_once_it_is_done() {
    let mut story = Story::new(Config { speculate: true, ..config(Mode::Test, Collect::Stream, 2) }).with(3, 3);
    for worker in 0..3 {
        story.collects(worker, worker, 1);
    }
    story.passes(Duration::from_millis(500)).finishes(1, test(1, 0));
    assert_eq!(story.wakes(), [run(1, 0, [0])]);
    // The third has been at it for as long.
    assert_eq!(story.finishes(1, test(0, 0)), []);
    assert_eq!(story.wakes(), [run(1, 2, [0])]);
    assert_eq!(story.loses(MachineId(2)), []);
    assert_eq!(story.finishes(0, test(0, 0)), []);
    assert_eq!(story.loses(THERE), [run(0, 2, [0])]);
}

#[test]
fn what_must_not_run_beside_others_is_not_tried_twice() {
    let story = Story::straggles(&[(0, Marks { serial: true, exclusive: false })]);
    assert_eq!(story.scheduler.next_deadline(), None);
}
