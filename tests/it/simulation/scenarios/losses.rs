//! Processes that die, machines that vanish, names that can't be found.

use cloudist::scheduler::{Ending, GiveUpReason, Subject};

use super::*;

#[test]
fn a_crashed_test_is_final_and_the_rest_is_run_elsewhere() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 3);
    story.finishes(0, test(0, 0));
    assert_eq!(story.dies(0, Some(test(0, 1)), None), []);
    assert_eq!(story.verdict, Verdict::Accepted);
    assert_eq!(story.joins(1, THERE), [run(1, 0, [2])]);
    assert_eq!(story.finishes(1, test(0, 2)).last(), Some(&Action::Finished { ending: Ending::Complete }));
}

#[test]
fn a_crash_of_a_test_that_had_finished_is_not_reported() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 3);
    story.finishes(0, test(0, 0));
    story.dies(0, Some(test(0, 0)), None);
    assert_eq!(story.verdict, Verdict::Stale);
}

#[test]
fn results_of_a_lost_worker_are_stale() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 2);
    story.tell(Input::MachineLost { machine: HERE });
    story.finishes(0, test(0, 0));
    assert_eq!(story.verdict, Verdict::Stale);
    assert_eq!(story.joins(1, THERE), [run(1, 0, 0..2)]);
    story.finishes(0, test(0, 0));
    assert_eq!(story.verdict, Verdict::Stale);
    story.finishes(1, test(0, 0));
    assert_eq!(story.verdict, Verdict::Accepted);
    story.finishes(1, test(0, 0));
    assert_eq!(story.verdict, Verdict::Stale);
}

#[test]
fn a_test_that_fells_machines_is_given_up() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 2);
    story.tell(Input::MachineLost { machine: HERE });
    assert_eq!(story.joins(1, MachineId(1)), [run(1, 0, 0..2)]);
    story.tell(Input::MachineLost { machine: MachineId(1) });
    story.joins(2, MachineId(2));
    let reason = GiveUpReason::AttemptsExhausted { attempts: 3 };
    let given_up = Action::GiveUp { subject: Subject::Test(test(0, 0)), reason };
    assert_eq!(story.tell(Input::MachineLost { machine: MachineId(2) }), [given_up]);
    assert_eq!(story.joins(3, MachineId(3)), [run(3, 0, [1])]);
}

#[test]
fn a_file_that_fells_machines_is_given_up() {
    let mut story = Story::streaming().with(1, 1);
    for number in 0..2 {
        story.tell(Input::MachineLost { machine: MachineId(number) });
        assert_eq!(story.joins(number + 1, MachineId(number + 1)), [collect(number + 1, 0)]);
    }
    let reason = GiveUpReason::AttemptsExhausted { attempts: 3 };
    let given_up = Action::GiveUp { subject: Subject::File(FileId(0)), reason };
    assert_eq!(story.tell(Input::MachineLost { machine: MachineId(2) })[0], given_up);
    assert_eq!(story.scheduler.ending(), Some(Ending::Complete));
}

#[test]
fn a_whole_machine_is_lost_at_once() {
    let mut story = Story::streaming();
    story.tell(Input::FilesFound(4));
    story.tell(Input::FilesEnd { errors: 0 });
    story.joins(0, HERE);
    story.joins(1, HERE);
    story.collects(0, 0, 4);
    assert_eq!(story.tell(Input::MachineLost { machine: HERE }), []);
    assert_eq!(story.joins(2, THERE), [collect(2, 1), collect(2, 2)]);
}

#[test]
fn nobody_joins_from_a_machine_that_is_lost() {
    let mut story = Story::streaming().with(1, 1);
    story.tell(Input::MachineLost { machine: HERE });
    assert_eq!(story.joins(1, HERE), []);
    assert_eq!(story.verdict, Verdict::Stale);
}

#[test]
fn a_retired_worker_is_not_to_blame() {
    let mut rules = config(Mode::Test, Collect::Stream, 1);
    rules.max_attempts = std::num::NonZeroU32::MIN;
    let mut story = Story::new(rules).with(1, 1);
    story.collects(0, 0, 2);
    assert_eq!(story.tell(Input::WorkerRetired { worker: gw(0) }), []);
    assert_eq!(story.joins(1, THERE), [run(1, 0, 0..2)]);
}

#[test]
fn a_missing_test_is_tried_where_its_file_was_collected_first() {
    let mut story = Story::streaming().with(1, 2);
    assert_eq!(story.collects(0, 0, 3), [complete(3)]);
    assert_eq!(story.wakes(), [recall(0, 1)]);
    assert_eq!(story.returns(0, &[test(0, 2)], &[]), [run(1, 0, [2])]);
    let missing = |worker| Input::Missing { worker: gw(worker), tests: vec![test(0, 2)] };
    assert_eq!(story.tell(missing(1))[0], run(0, 0, [2]));
    let given_up = Action::GiveUp { subject: Subject::Test(test(0, 2)), reason: GiveUpReason::NotFound };
    assert_eq!(story.tell(missing(0))[0], given_up);
}

#[test]
fn a_missing_test_whose_home_is_gone_is_given_up() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 1);
    story.tell(Input::MachineLost { machine: HERE });
    assert_eq!(story.joins(1, THERE), [run(1, 0, [0])]);
    let given_up = Action::GiveUp { subject: Subject::Test(test(0, 0)), reason: GiveUpReason::NotFound };
    assert_eq!(story.tell(Input::Missing { worker: gw(1), tests: vec![test(0, 0)] })[0], given_up);
}

#[test]
fn a_fresh_process_is_not_the_home_its_worker_was() {
    let mut story = Story::streaming().with(1, 2);
    story.collects(0, 0, 3);
    assert_eq!(story.wakes(), [recall(0, 1)]);
    assert_eq!(story.returns(0, &[test(0, 2)], &[]), [run(1, 0, [2])]);
    let slot = Slot::Returns;
    story.tell(Input::WorkerDied { worker: gw(0), running: Some(test(0, 0)), collecting: None, slot });
    story.joins(0, HERE);
    let given_up = Action::GiveUp { subject: Subject::Test(test(0, 2)), reason: GiveUpReason::NotFound };
    assert_eq!(story.tell(Input::Missing { worker: gw(1), tests: vec![test(0, 2)] })[0], given_up);
}

#[test]
fn with_nobody_left_everything_is_given_up() {
    let mut story = Story::streaming().with(2, 1);
    story.collects(0, 0, 1);
    story.tell(Input::LeasesOver);
    let reason = GiveUpReason::NoWorkersLeft;
    let file = Action::GiveUp { subject: Subject::File(FileId(1)), reason };
    let only_test = Action::GiveUp { subject: Subject::Test(test(0, 0)), reason };
    let finished = Action::Finished { ending: Ending::Complete };
    assert_eq!(story.tell(Input::MachineLost { machine: HERE }), [file, only_test, complete(1), finished]);
}

#[test]
fn a_process_that_is_on_its_way_is_waited_for() {
    let mut story = Story::streaming().with(1, 1);
    story.tell(Input::LeasesOver);
    let died = |slot| Input::WorkerDied { worker: gw(0), running: None, collecting: None, slot };
    assert_eq!(story.tell(died(Slot::Returns)), []);
    assert_eq!(story.tell(died(Slot::Gone)).last(), Some(&Action::Finished { ending: Ending::Complete }));
}
