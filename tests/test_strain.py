from duplex_runtime.strain import LEVELS, Strain


def slices(strain: Strain, share: float, count: int = 32) -> list[int]:
    """The level after each slice that took `share` of its period."""
    levels = []
    for _ in range(count):
        strain.note(share * 2.0, 2.0)
        levels.append(strain.level)
    return levels


def test_a_loop_in_time_stays_on_time() -> None:
    assert slices(Strain(), 0.3, 500) == [0] * 500


def test_levels_rise_one_by_one_and_each_is_judged_by_its_own_slices() -> None:
    strain = Strain()
    assert slices(strain, 0.6) == [0] * 31 + [1]
    assert slices(strain, 0.6) == [1] * 31 + [2]
    assert slices(strain, 0.6) == [2] * 31 + [3]
    assert slices(strain, 9.0, 100) == [3] * 100
    assert len(LEVELS) == 4


def test_it_relaxes_only_when_there_is_room_to_spare() -> None:
    strain = Strain()
    slices(strain, 0.6)
    assert slices(strain, 0.3, 200)[-1] == 1  # between the two bounds nothing changes: no swinging
    slices(strain, 0.01, 128)
    assert strain.level == 0


def test_one_late_slice_in_thirty_two_is_forgiven() -> None:
    strain = Strain()
    for _ in range(20):
        slices(strain, 0.2, 31)
        slices(strain, 30.0, 1)  # a laptop that slept
    assert strain.level == 0


def test_how_late_is_known_after_enough_slices() -> None:
    strain = Strain()
    slices(strain, 0.25, 31)
    assert strain.late is None
    slices(strain, 0.25, 1)
    assert strain.late == 0.25
    strain.reset()
    assert strain.late is None


def test_nobody_left_means_a_fresh_start() -> None:
    strain = Strain()
    slices(strain, 0.9, 96)
    assert strain.level == 3
    strain.reset()
    assert strain.level == 0
