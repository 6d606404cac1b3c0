"""The table of deadlines: the earliest first, and an action may change the table."""

from __future__ import annotations

from collections.abc import Callable

from otabench.ecu_firmware_sim.runtime.deadlines import Deadlines, Due


def recorder(performed: list[Due], **special: Callable[[], None]) -> dict[Due, Callable[[], None]]:
    """Return actions that record that they were performed, and do what ``special`` has under their name."""

    def action(due: Due) -> Callable[[], None]:
        def act() -> None:
            performed.append(due)
            special.get(due.name, lambda: None)()

        return act

    return {due: action(due) for due in Due}


def test_actions_are_performed_in_the_order_of_their_times_and_once() -> None:
    deadlines, performed = Deadlines(), list[Due]()
    deadlines.set(Due.CRASH, 3.0)
    deadlines.set(Due.BOOT, 2.0)
    deadlines.set(Due.ANNOUNCE, 1.0)
    assert deadlines.next_s == 1.0
    actions = recorder(performed)
    deadlines.run(actions, now_s=2.0)
    assert performed == [Due.ANNOUNCE, Due.BOOT]
    assert deadlines.next_s == 3.0
    deadlines.run(actions, now_s=2.5)
    assert performed == [Due.ANNOUNCE, Due.BOOT]


def test_an_action_that_clears_the_table_keeps_later_ones_from_being_performed() -> None:
    deadlines, performed = Deadlines(), list[Due]()
    deadlines.set(Due.BOOT, 1.0)
    deadlines.set(Due.CRASH, 1.5)
    deadlines.run(recorder(performed, BOOT=deadlines.clear), now_s=2.0)
    assert performed == [Due.BOOT]
    assert deadlines.next_s is None


def test_a_deadline_that_an_action_sets_again_waits_for_the_next_turn() -> None:
    deadlines, performed = Deadlines(), list[Due]()
    deadlines.set(Due.ANNOUNCE, 1.0)
    actions = recorder(performed, ANNOUNCE=lambda: deadlines.set(Due.ANNOUNCE, 1.5))
    deadlines.run(actions, now_s=2.0)
    assert performed == [Due.ANNOUNCE] and Due.ANNOUNCE in deadlines
    deadlines.run(actions, now_s=2.0)
    assert performed == [Due.ANNOUNCE, Due.ANNOUNCE]


def test_a_dropped_deadline_is_gone() -> None:
    deadlines = Deadlines()
    deadlines.set(Due.TRIAL_WATCHDOG, 1.0)
    deadlines.drop(Due.TRIAL_WATCHDOG)
    deadlines.drop(Due.TRIAL_WATCHDOG)
    assert Due.TRIAL_WATCHDOG not in deadlines and deadlines.next_s is None
