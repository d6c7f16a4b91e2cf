//! Machines that are announced to go: what is fetched back, who is closed when, and whose fault a loss is then.

use std::num::NonZeroU32;

use cloudist::scheduler::{CollectionErrors, Ending, GiveUpReason, Subject};

use super::*;

fn everything(worker: u32) -> Action {
    recall(worker, u32::MAX)
}

#[test]
fn what_waits_is_fetched_and_what_runs_may_finish() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 4);
    assert_eq!(story.leaves(HERE), [everything(0)]);
    assert_eq!(story.joins(1, THERE), []);
    assert_eq!(story.returns(0, &[test(0, 1), test(0, 2), test(0, 3)], &[]), [run(1, 0, 1..4)]);
    assert_eq!(story.finishes(0, test(0, 0)), [close(0)]);
    assert_eq!(story.verdict, Verdict::Accepted);
    assert_eq!(story.tell(Input::WorkerRetired { worker: gw(0) }), []);
    assert_eq!(story.verdict, Verdict::Accepted);
    for index in 1..3 {
        assert_eq!(story.finishes(1, test(0, index)), []);
    }
    let finished = Action::Finished { ending: Ending::Complete };
    assert_eq!(story.finishes(1, test(0, 3)), [close(1), finished]);
}

#[test]
fn an_idle_worker_is_closed_at_once() {
    let mut story = Story::streaming().with(1, 2);
    story.collects(0, 0, 1);
    assert_eq!(story.leaves(MachineId(1)), [close(1)]);
    let finished = Action::Finished { ending: Ending::Complete };
    assert_eq!(story.finishes(0, test(0, 0)), [close(0), finished]);
}

#[test]
fn the_end_comes_when_the_recall_is_answered_and_nothing_runs() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 2);
    assert_eq!(story.leaves(HERE), [everything(0)]);
    assert_eq!(story.finishes(0, test(0, 0)), []);
    assert_eq!(story.returns(0, &[test(0, 1)], &[]), [close(0)]);
}

#[test]
fn what_a_collection_finds_is_fetched_too() {
    let mut story = Story::streaming().with(2, 1);
    assert_eq!(story.leaves(HERE), [everything(0)]);
    assert_eq!(story.returns(0, &[], &[1]), []);
    assert_eq!(story.collects(0, 0, 3), [everything(0)]);
    assert_eq!(story.joins(1, THERE), [collect(1, 1)]);
    assert_eq!(story.returns(0, &[test(0, 1), test(0, 2)], &[]), [run(1, 0, [1])]);
    assert_eq!(story.finishes(0, test(0, 0)), [close(0)]);
}

#[test]
fn a_recall_for_others_is_waited_for() {
    let mut story = Story::streaming().with(1, 2);
    assert_eq!(story.collects(0, 0, 4), [complete(4)]);
    assert_eq!(story.wakes(), [recall(0, 1)]);
    assert_eq!(story.leaves(HERE), []);
    assert_eq!(story.returns(0, &[test(0, 3)], &[]), [everything(0), run(1, 0, [3])]);
    assert_eq!(story.returns(0, &[test(0, 1), test(0, 2)], &[]), [run(1, 0, [1])]);
}

#[test]
fn what_was_kept_for_a_worker_is_anyones() {
    let mut story = Story::new(config(Mode::Test, Collect::First, 2)).with(2, 2);
    story.collects(1, 1, 1);
    story.collects(0, 0, 40);
    story.leaves(HERE);
    story.returns(0, &[], &[]);
    let first = story.finishes(1, test(1, 0));
    let given = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Run { worker, file: FileId(0), .. } if *worker == gw(1)))
    };
    assert!(given(&first), "{first:?}");
    assert!(!first.iter().any(|action| matches!(action, Action::Run { worker: WorkerId(0), .. })));
}

#[test]
fn nothing_is_taken_from_a_leaving_worker_but_everything() {
    let mut story = Story::streaming().with(2, 2);
    story.collects(0, 0, 8);
    story.collects(1, 1, 1);
    story.leaves(HERE);
    assert_eq!(story.finishes(1, test(1, 0)), []);
    let tests: Vec<TestId> = (1..8).map(|index| test(0, index)).collect();
    let given = story.returns(0, &tests, &[]);
    assert!(matches!(given[0], Action::Run { worker: WorkerId(1), .. }), "{given:?}");
}

#[test]
fn who_joins_on_a_leaving_machine_is_closed_at_once() {
    let mut story = Story::streaming();
    story.tell(Input::FilesFound(2));
    assert_eq!(story.leaves(HERE), []);
    assert_eq!(story.verdict, Verdict::Accepted);
    assert_eq!(story.joins(0, HERE), [close(0)]);
    assert_eq!(story.joins(1, THERE), [collect(1, 0), collect(1, 1)]);
}

#[test]
fn further_notices_change_nothing() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 2);
    story.leaves(HERE);
    for _ in 0..2 {
        assert_eq!(story.leaves(HERE), []);
        assert_eq!(story.verdict, Verdict::Stale);
        story.returns(0, &[test(0, 1)], &[]);
    }
    assert_eq!(story.finishes(0, test(0, 0)), [close(0)]);
    assert_eq!(story.leaves(HERE), []);
    story.loses(HERE);
    assert_eq!(story.leaves(HERE), []);
    assert_eq!(story.verdict, Verdict::Stale);
    assert_eq!(story.joins(1, THERE), [run(1, 0, [1])]);
}

#[test]
fn notice_of_a_machine_that_is_gone_is_stale() {
    let mut story = Story::streaming().with(1, 1);
    story.loses(HERE);
    assert_eq!(story.leaves(HERE), []);
    assert_eq!(story.verdict, Verdict::Stale);
}

#[test]
fn an_announced_loss_is_nobodys_fault() {
    let mut rules = config(Mode::Test, Collect::Stream, 1);
    rules.max_attempts = NonZeroU32::MIN;
    let mut story = Story::new(rules).with(1, 1);
    for number in 0..4 {
        story.leaves(MachineId(number));
        assert_eq!(story.loses(MachineId(number)), []);
        assert_eq!(story.joins(number + 1, MachineId(number + 1)), [collect(number + 1, 0)]);
    }
    story.collects(4, 0, 2);
    for number in 4..8 {
        // The recall is still in the air when the machine goes.
        assert_eq!(story.leaves(MachineId(number)), [everything(number)]);
        assert_eq!(story.loses(MachineId(number)), []);
        story.returns(number, &[test(0, 1)], &[]);
        assert_eq!(story.verdict, Verdict::Stale);
        assert_eq!(story.joins(number + 1, MachineId(number + 1)), [run(number + 1, 0, 0..2)]);
    }
    let reason = GiveUpReason::AttemptsExhausted { attempts: 1 };
    let given_up = Action::GiveUp { subject: Subject::Test(test(0, 0)), reason };
    assert_eq!(story.loses(MachineId(8)), [given_up]);
}

#[test]
fn a_death_without_a_culprit_is_nobodys_fault_either() {
    let mut rules = config(Mode::Test, Collect::Stream, 1);
    rules.max_attempts = NonZeroU32::MIN;
    let mut story = Story::new(rules).with(1, 1);
    story.collects(0, 0, 2);
    story.leaves(HERE);
    assert_eq!(story.dies(0, None, None), []);
    assert_eq!(story.joins(1, THERE), [run(1, 0, 0..2)]);
}

#[test]
fn a_crash_on_a_leaving_machine_is_a_crash() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 2);
    story.leaves(HERE);
    assert_eq!(story.dies(0, Some(test(0, 0)), None), []);
    assert_eq!(story.verdict, Verdict::Accepted);
    assert_eq!(story.joins(1, THERE), [run(1, 0, [1])]);
}

#[test]
fn with_only_leaving_machines_the_work_waits() {
    let mut story = Story::streaming().with(2, 1);
    story.leaves(HERE);
    assert_eq!(story.returns(0, &[], &[1]), []);
    assert_eq!(story.loses(HERE), []);
    assert_eq!(story.scheduler.ending(), None);
    assert_eq!(story.joins(1, THERE), [collect(1, 0), collect(1, 1)]);
}

#[test]
fn what_nobody_is_left_for_is_given_up_while_the_last_test_runs() {
    let mut story = Story::streaming().with(1, 1);
    story.collects(0, 0, 2);
    story.leaves(HERE);
    story.returns(0, &[test(0, 1)], &[]);
    let given_up = Action::GiveUp { subject: Subject::Test(test(0, 1)), reason: GiveUpReason::NoWorkersLeft };
    assert_eq!(story.tell(Input::LeasesOver), [given_up]);
    let finished = Action::Finished { ending: Ending::Complete };
    assert_eq!(story.finishes(0, test(0, 0)), [close(0), finished]);
    assert_eq!(story.verdict, Verdict::Accepted);
}

#[test]
fn a_process_that_is_to_return_to_a_leaving_machine_is_no_hope() {
    let given_up = Action::GiveUp { subject: Subject::File(FileId(0)), reason: GiveUpReason::NoWorkersLeft };
    let died = Input::WorkerDied { worker: gw(0), running: None, collecting: None, slot: Slot::Returns };
    for notice_first in [true, false] {
        let mut story = Story::streaming().with(1, 1);
        story.tell(Input::LeasesOver);
        let wanted = if notice_first {
            story.leaves(HERE);
            story.tell(died.clone())
        } else {
            assert_eq!(story.tell(died.clone()), []);
            story.leaves(HERE)
        };
        assert_eq!(wanted[0], given_up, "notice first: {notice_first}");
        assert_eq!(story.scheduler.ending(), Some(Ending::Complete));
    }
}

#[test]
fn in_file_mode_the_rest_of_a_file_moves_together() {
    let mut story = Story::new(config(Mode::File, Collect::Stream, 2)).with(1, 1);
    story.collects(0, 0, 5);
    story.finishes(0, test(0, 0));
    story.leaves(HERE);
    let rest: Vec<TestId> = (2..5).map(|index| test(0, index)).collect();
    assert_eq!(story.returns(0, &rest, &[]), []);
    assert_eq!(story.joins(1, THERE), [run(1, 0, 2..5)]);
    // What was running is lost after all, and goes elsewhere by itself.
    story.joins(2, MachineId(2));
    assert_eq!(story.loses(HERE), [run(2, 0, [1])]);
}

#[test]
fn a_test_that_is_found_only_there_is_tried_elsewhere() {
    let mut story = Story::streaming().with(1, 2);
    assert_eq!(story.collects(0, 0, 3), [complete(3)]);
    assert_eq!(story.wakes(), [recall(0, 1)]);
    assert_eq!(story.returns(0, &[test(0, 2)], &[]), [run(1, 0, [2])]);
    let missing = Input::Missing { worker: gw(1), tests: vec![test(0, 2)] };
    assert_eq!(story.tell(missing.clone())[0], run(0, 0, [2]));
    assert_eq!(story.wakes(), [recall(0, 2)]);
    let wanted = story.leaves(HERE);
    assert_eq!(wanted.last(), None, "a recall is under way");
    assert_eq!(story.returns(0, &[test(0, 1)], &[]), [everything(0), run(1, 0, [1])]);
    assert_eq!(story.returns(0, &[test(0, 2)], &[]), [run(1, 0, [2])]);
    let given_up = Action::GiveUp { subject: Subject::Test(test(0, 2)), reason: GiveUpReason::NotFound };
    assert_eq!(story.tell(missing)[0], given_up);
}

#[test]
fn collection_goes_on_elsewhere_after_a_collection_error() {
    let mut rules = config(Mode::Test, Collect::Stream, 2);
    rules.collection_errors = CollectionErrors::Stop;
    let mut story = Story::new(rules).with(4, 2);
    assert!(story.fails_to_collect(1, 1).contains(&recall(0, 2)));
    let returned = story.returns(0, &[], &[2]);
    assert!(returned.contains(&only_collect(0, 2)), "{returned:?}");
    // What was recalled because of the error is one thing, what was given since is another.
    assert_eq!(story.leaves(HERE), [everything(0)]);
    assert_eq!(story.returns(0, &[], &[0, 2])[0], close(0));
}

#[test]
fn workers_that_are_closed_already_are_not_closed_again_at_the_end() {
    let mut story = Story::streaming().with(1, 2);
    story.collects(0, 0, 1);
    assert_eq!(story.leaves(MachineId(1)), [close(1)]);
    assert_eq!(story.tell(Input::Stop), [Action::Abort, Action::Finished { ending: Ending::Stopped }]);
    assert_eq!(story.leaves(HERE), []);
    assert_eq!(story.verdict, Verdict::Stale);
}
