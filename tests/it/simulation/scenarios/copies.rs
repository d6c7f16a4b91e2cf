//! All tests on every worker: what each is given, and what becomes of a copy whose worker is gone.

use cloudist::scheduler::{Ending, GiveUpReason, Subject};

use super::*;

fn each(collect: Collect, copies: u32) -> Story {
    Story::new(config(Mode::Each, collect, copies))
}

/// Two files in two copies, on two workers.
fn two_by_two() -> Story {
    each(Collect::Stream, 2).with(4, 2)
}

fn given_up(subject: Subject) -> Action {
    Action::GiveUp { subject, reason: GiveUpReason::NoWorkersLeft }
}

#[test]
fn each_worker_gets_every_file() {
    let mut story = two_by_two();
    assert_eq!(story.wanted, [collect(0, 0), collect(1, 1), collect(0, 2), collect(1, 3)]);
    story.collects(0, 0, 2);
    story.collects(1, 1, 3);
    story.collects(0, 2, 0);
    for index in 0..2 {
        assert_eq!(story.finishes(0, test(0, index)), [], "what another has waiting is not for this one");
    }
    assert_eq!(story.collects(1, 3, 0), [complete(5)]);
    for index in 0..2 {
        story.finishes(1, test(1, index));
    }
    let ending = Ending::Complete;
    assert_eq!(story.finishes(1, test(1, 2)), [close(0), close(1), Action::Finished { ending }]);
}

#[test]
fn nothing_runs_before_all_copies_are_collected() {
    let mut story = each(Collect::First, 2).with(2, 2);
    assert_eq!(story.wanted, [only_collect(0, 0), only_collect(1, 1)]);
    assert_eq!(story.collects(0, 0, 1), []);
    assert_eq!(story.collects(1, 1, 1), [complete(2), run(0, 0, [0]), run(1, 1, [0])]);
}

#[test]
fn an_error_in_one_copy_stops_them_all() {
    let mut story = each(Collect::First, 2).with(2, 2);
    story.collects(0, 0, 1);
    let ending = Ending::CollectionErrors;
    assert_eq!(story.fails_to_collect(1, 1), [complete(1), close(0), close(1), Action::Finished { ending }]);
}

#[test]
fn a_fresh_process_goes_on_with_its_copy() {
    let mut story = two_by_two();
    story.collects(0, 0, 3);
    story.tell(Input::WorkerDied { worker: gw(0), running: Some(test(0, 0)), collecting: None, slot: Slot::Returns });
    assert_eq!(story.wanted, []);
    assert_eq!(story.joins(0, MachineId(0)), [run(0, 0, [1]), run(0, 0, [2])]);
}

#[test]
fn a_newcomer_takes_the_copy_of_one_that_is_gone() {
    let mut story = two_by_two();
    story.collects(0, 0, 3);
    story.finishes(0, test(0, 0));
    story.loses(MachineId(0));
    assert_eq!(story.wanted, [], "the other has a copy of its own");
    assert_eq!(story.joins(2, MachineId(2)), [run(2, 0, [1, 2])]);
    assert_eq!(story.finishes(2, test(0, 1)), [collect(2, 2)]);
}

#[test]
fn whoever_finds_no_copy_is_sent_home() {
    let mut story = two_by_two();
    assert_eq!(story.joins(2, MachineId(2)), [close(2)]);
}

#[test]
fn a_copy_that_nobody_takes_is_given_up() {
    let mut story = two_by_two();
    story.collects(0, 0, 2);
    story.loses(MachineId(0));
    assert_eq!(story.wanted, []);
    let lost = [Subject::File(FileId(2)), Subject::Test(test(0, 0)), Subject::Test(test(0, 1))];
    assert_eq!(story.tell(Input::LeasesOver), lost.map(given_up));
    assert_eq!(story.collects(1, 1, 0), []);
    let ending = Ending::Complete;
    assert_eq!(story.collects(1, 3, 0), [complete(2), close(1), Action::Finished { ending }]);
}

#[test]
fn a_copy_waits_for_whoever_was_asked_for_in_the_place_of_another() {
    let mut story = two_by_two();
    story.tell(Input::LeasesOver);
    story.tell(Input::LeasesReopened);
    assert_eq!(story.loses(MachineId(0)), []);
    assert_eq!(story.joins(2, MachineId(2)), [collect(2, 0), collect(2, 2)]);
    assert_eq!(story.loses(MachineId(2)), []);
    assert_eq!(story.tell(Input::LeasesOver), [0, 2].map(|file| given_up(Subject::File(FileId(file)))));
}

#[test]
fn a_copy_whose_worker_never_came_is_given_up() {
    let mut story = each(Collect::Stream, 2).with(2, 1);
    assert_eq!(story.wanted, [collect(0, 0)]);
    assert_eq!(story.tell(Input::LeasesOver), [given_up(Subject::File(FileId(1)))]);
}

#[test]
fn a_copy_leaves_a_machine_that_is_about_to_go() {
    let mut story = two_by_two();
    story.collects(0, 0, 2);
    story.leaves(MachineId(0));
    story.returns(0, &[test(0, 1)], &[2]);
    assert_eq!(story.joins(2, MachineId(2)), [run(2, 0, [1]), collect(2, 2)]);
    // What had begun there counts.
    assert_eq!(story.finishes(0, test(0, 0)), [close(0)]);
    assert_eq!(story.verdict, Verdict::Accepted);
}
