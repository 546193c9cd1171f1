"""Our PS3.8 table 9-10 against another implementation's."""

from __future__ import annotations

import re

from somascope.server.dimse.fsm import TABLE, Evt, Sta


def test_every_action_and_next_state_is_pynetdicoms():
    from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

    theirs = {
        (int(event[3:]), int(state[3:])): action
        for (event, state), action in TRANSITION_TABLE.items()
    }
    ours = {(int(e), int(s)): entry for (e, s), entry in TABLE.items()}
    assert ours.keys() == theirs.keys()
    for key, (action, following) in ours.items():
        name = theirs[key]
        assert action == name.replace("_", "-")
        states = {int(n) for n in re.findall(r"Sta(\d+)", str(ACTIONS[name][2]))}
        if following is None:
            assert len(states) == 2
        else:
            assert int(following) in states


def test_the_network_can_do_something_in_every_state_that_has_a_connection():
    network = [Evt.ASSOCIATE_RQ, Evt.ASSOCIATE_AC, Evt.ASSOCIATE_RJ, Evt.DATA_TF, Evt.RELEASE_RQ]
    network += [Evt.RELEASE_RP, Evt.ABORT, Evt.TRANSPORT_CLOSED, Evt.INVALID_PDU]
    for state in Sta:
        if state not in (Sta.Sta1, Sta.Sta4):
            assert all((event, state) in TABLE for event in network), state
