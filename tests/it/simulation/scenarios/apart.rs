//! Tests that don't run beside others: one at a time in the run, or alone on their machine.

use cloudist::scheduler::Marks;

use super::*;

const SERIAL: Marks = Marks { serial: true, exclusive: false };
const EXCLUSIVE: Marks = Marks { serial: false, exclusive: true };

impl Story {
    /// The worker has collected the file and found these marks in it.
    fn collects_marked(&mut self, worker: u32, file: u32, tests: u32, marks: &[(u32, Marks)]) -> Vec<Action> {
        self.tell(Input::Marked { file: FileId(file), tests: marks.to_vec() });
        self.collects(worker, file, tests)
    }
}

#[test]
fn serial_tests_follow_each_other_wherever_they_run() {
    let mut story = Story::streaming().with(2, 2);
    assert_eq!(story.collects_marked(0, 0, 1, &[(0, SERIAL)]), [run(0, 0, [0])]);
    assert_eq!(story.collects_marked(1, 1, 1, &[(0, SERIAL)]), [complete(2)]);
    assert_eq!(story.finishes(0, test(0, 0)), [run(1, 1, [0])]);
}

#[test]
fn a_serial_test_is_not_taken_from_whom_it_was_given_to() {
    let mut story = Story::streaming().with(1, 1);
    assert_eq!(story.collects_marked(0, 0, 2, &[(1, SERIAL)]), [complete(2), run(0, 0, [1])]);
    assert_eq!(story.joins(1, THERE), []);
    assert_eq!(story.scheduler.next_deadline(), None);
}

#[test]
fn a_lost_serial_test_makes_room_for_the_next() {
    let mut story = Story::streaming().with(2, 2);
    story.collects_marked(0, 0, 1, &[(0, SERIAL)]);
    story.collects_marked(1, 1, 1, &[(0, SERIAL)]);
    assert_eq!(story.loses(MachineId(0)), [run(1, 0, [0])]);
    assert_eq!(story.finishes(1, test(0, 0)), [run(1, 1, [0])]);
}

#[test]
fn a_machine_is_cleared_for_an_exclusive_test_and_let_go_afterwards() {
    let mut story = Story::streaming();
    story.tell(Input::FilesFound(3));
    story.tell(Input::FilesEnd { errors: 0 });
    story.joins(0, HERE);
    assert_eq!(story.joins(1, HERE), [collect(1, 2)]);
    // What waits there is fetched back, and what runs is waited for.
    let everything = |worker| recall(worker, u32::MAX);
    assert_eq!(story.collects_marked(0, 0, 1, &[(0, EXCLUSIVE)]), [everything(0), everything(1)]);
    assert_eq!(story.returns(0, &[], &[1]), []);
    assert_eq!(story.returns(1, &[], &[]), []);
    assert_eq!(story.collects(1, 2, 1), [everything(1)]);
    assert_eq!(story.returns(1, &[], &[]), []);
    assert_eq!(story.finishes(1, test(2, 0)), [run(0, 0, [0])]);
    assert_eq!(story.finishes(0, test(0, 0)), [collect(0, 1)]);
}

#[test]
fn other_machines_go_on_meanwhile() {
    let mut story = Story::streaming().with(4, 2);
    assert_eq!(story.collects_marked(0, 0, 1, &[(0, EXCLUSIVE)]), [recall(0, u32::MAX)]);
    assert_eq!(story.returns(0, &[], &[2]), [run(0, 0, [0])]);
    story.collects(1, 1, 1);
    assert_eq!(story.finishes(1, test(1, 0)), [collect(1, 2)]);
    assert_eq!(story.scheduler.ending(), None);
}

#[test]
fn whoever_joins_on_a_machine_that_is_set_aside_waits() {
    let mut story = Story::streaming().with(2, 1);
    story.collects_marked(0, 0, 1, &[(0, EXCLUSIVE)]);
    assert_eq!(story.returns(0, &[], &[1]), [run(0, 0, [0])]);
    assert_eq!(story.joins(1, MachineId(0)), []);
    assert_eq!(story.finishes(0, test(0, 0)), [collect(0, 1)]);
}

#[test]
fn in_file_mode_the_whole_file_is_as_the_marked_test() {
    let mut story = Story::new(config(Mode::File, Collect::Stream, 2)).with(2, 2);
    assert_eq!(story.collects_marked(0, 0, 3, &[(1, SERIAL)]), [run(0, 0, 0..3)]);
    assert_eq!(story.collects_marked(1, 1, 2, &[(0, SERIAL)]), [complete(5)]);
    for index in 0..2 {
        assert_eq!(story.finishes(0, test(0, index)), []);
    }
    assert_eq!(story.finishes(0, test(0, 2)), [run(1, 1, 0..2)]);
}
