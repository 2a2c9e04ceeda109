"""Whatever happens in whatever order: an agent has one route at most, to its newest session, and no late word moves it.

The rows, locks and constraints are the real ones; the steps are those of `tunnel.worker.Worker` and of the sweep, and
the model beside them is a few sets.
"""

import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from servers import identity
from servers.models import Server
from tests.faults.counts import count
from tunnel import routes, sessions
from tunnel.models import CloseReason, Session, Worker
from tunnel.sessions import Loser, NoLongerWelcome, Welcome

WORKERS = 3
EXAMPLES = count(8, 100)
STEPS = count(40, 100)  # of each example; 10⁴ together in a soak

workers = st.integers(0, WORKERS - 1)
pick = st.randoms(use_true_random=False)


class Process:
    """One web worker: its id, and the sockets that are open in it, as `Worker._by_session` has them."""

    def __init__(self) -> None:
        self.id = uuid.uuid4()
        self.inbox = f"inbox-{self.id}"
        self.held: dict[uuid.UUID, Welcome] = {}
        self.alive = True  # the lease is valid
        sessions.open_worker(self.id, self.inbox)


class OneRoute(RuleBasedStateMachine):
    """One server, three workers; cuts travel between the workers and may arrive late, or never."""

    @initialize()
    def begin(self) -> None:
        self.server = identity.create(f"node {uuid.uuid4()}")[0]
        self.processes = [Process() for _ in range(WORKERS)]
        self.open: uuid.UUID | None = None
        self.lost: set[uuid.UUID] = set()  # ended by the sweep, and not taken back
        self.claimed: list[uuid.UUID] = []  # in this order
        self.cuts: list[Loser] = []  # on their way
        self.judged = self.welcome()  # what an agent at the door was judged by

    def teardown(self) -> None:
        if hasattr(self, "server"):
            Server.objects.filter(pk=self.server.pk).delete()
            Worker.objects.filter(pk__in=[one.id for one in self.processes]).delete()

    def welcome(self) -> Welcome:
        self.server.refresh_from_db()
        return Welcome(self.server.pk, self.server.agent_id, self.server.secret_version)

    def holder(self, session: uuid.UUID) -> Process | None:
        return next((one for one in self.processes if session in one.held), None)

    def is_welcome(self, welcome: Welcome) -> bool:
        return welcome == self.welcome() and self.server.status != Server.Status.SUSPENDED

    @rule()
    def an_agent_is_judged(self) -> None:
        self.judged = self.welcome()

    @rule(at=workers)
    def an_agent_comes_in(self, at: int) -> None:
        """The newest wins, if it is still what it was judged by."""
        process, session = self.processes[at], uuid.uuid4()
        welcome_now = self.is_welcome(self.judged)
        try:
            loser = sessions.claim(self.judged, session, process.id, basic=True, address=None)
        except NoLongerWelcome:
            assert not welcome_now
            return
        assert welcome_now
        assert (loser and loser.session) == (self.open and str(self.open))
        if loser is not None:
            self.cuts.append(loser)
        process.held[session] = self.judged
        self.claimed.append(session)
        self.open = session

    @precondition(lambda self: self.cuts)
    @rule(random=pick)
    def a_cut_arrives(self, random) -> None:
        """The loser's own end is late and changes nothing."""
        loser = self.cuts.pop(random.randrange(len(self.cuts)))
        self.socket_ends(uuid.UUID(loser.session), CloseReason.REPLACED)

    @precondition(lambda self: self.cuts)
    @rule()
    def the_cuts_are_lost_on_the_way(self) -> None:
        self.cuts.clear()

    @precondition(lambda self: any(one.held for one in self.processes))
    @rule(random=pick)
    def a_socket_is_lost(self, random) -> None:
        held = [session for one in self.processes for session in one.held]
        self.socket_ends(random.choice(held), CloseReason.NETWORK_LOST)

    @precondition(lambda self: self.claimed)
    @rule(random=pick)
    def a_close_is_written_twice(self, random) -> None:
        """An end that could not be written is tried again, long after."""
        gone = [session for session in self.claimed if self.holder(session) is None]
        if gone:
            session = random.choice(gone)
            assert sessions.close(session, CloseReason.NETWORK_LOST) == (session == self.open)
            if session == self.open:  # its process died, and nobody had noticed
                self.open = None

    @rule(at=workers)
    def a_worker_looks_who_is_welcome(self, at: int) -> None:
        process = self.processes[at]
        held = {str(session): welcome for session, welcome in process.held.items()}
        found = sessions.unwelcome(process.id, held)
        for session, welcome in list(process.held.items()):
            replaced = session != self.open and session not in self.lost
            expected = CloseReason.REPLACED if replaced else CloseReason.REVOKED
            stays = not replaced and self.is_welcome(welcome)
            assert found.get(str(session)) == (None if stays else expected)
        for session, reason in found.items():
            self.socket_ends(uuid.UUID(session), reason)

    @rule(at=workers)
    def a_lease_runs_out(self, at: int) -> None:
        process = self.processes[at]
        process.alive = False
        Worker.objects.filter(pk=process.id).update(lease_until=Now() - timedelta(seconds=1))

    @rule()
    def the_background_worker_sweeps(self) -> None:
        holder = self.worker_of(self.open)
        dead = holder is not None and not holder.alive
        assert sessions.end_lost() == ([self.server.agent_id] if dead else [])
        if dead and self.open is not None:
            self.lost.add(self.open)
            self.open = None

    @rule(at=workers)
    def a_worker_renews(self, at: int) -> None:
        """As `Worker._renew` does: who was late takes back what nobody newer had since."""
        process = self.processes[at]
        assert sessions.renew(process.id) == process.alive
        if process.alive:
            return
        process.alive = True
        newest = self.claimed[-1] if self.claimed else None
        if self.open is None and newest in self.lost and newest in process.held:
            self.open = newest
            self.lost.discard(newest)
        kept = sessions.reclaim(process.id, [str(session) for session in process.held])
        assert kept == {str(self.open)} & {str(session) for session in process.held}
        for session in list(process.held):
            if str(session) not in kept:
                self.socket_ends(session, CloseReason.REPLACED)

    @rule(at=workers)
    def a_worker_dies(self, at: int) -> None:
        """Its rows stay open until somebody sweeps; another process comes in its place."""
        dead = self.processes[at]
        Worker.objects.filter(pk=dead.id).update(lease_until=Now() - timedelta(seconds=1))
        dead.alive = False
        dead.held.clear()
        self.graves = [*getattr(self, "graves", []), dead]
        self.processes[at] = Process()

    @rule(step=st.sampled_from(["suspend", "reactivate", "rotate"]))
    def somebody_changes_the_server(self, step: str) -> None:
        steps = {
            "suspend": identity.suspend,
            "reactivate": identity.reactivate,
            "rotate": identity.rotate_secret,
        }
        steps[step](self.server)

    @invariant()
    def there_is_one_route_at_most_and_it_leads_to_the_newest(self) -> None:
        if not hasattr(self, "server"):
            return
        rows = Session.objects.filter(server=self.server, closed_at=None).values_list("pk", "worker__inbox")
        holder = self.worker_of(self.open)
        expected = [] if self.open is None or holder is None else [(self.open, holder.inbox)]
        assert list(rows) == expected
        route = routes.read(self.server.agent_id)
        if expected and holder is not None and holder.alive:
            assert route == routes.Route(holder.inbox, str(self.open))
            assert self.open == self.claimed[-1], "an older session is in the way of a newer one"
        else:
            assert route is None

    def worker_of(self, session: uuid.UUID | None) -> Process | None:
        """Return the process whose row a session names, also a dead one's."""
        if session is None:
            return None
        worker = Session.objects.values_list("worker", flat=True).get(pk=session)
        every = [*self.processes, *getattr(self, "graves", [])]
        return next(one for one in every if one.id == worker)

    def socket_ends(self, session: uuid.UUID, reason: CloseReason) -> None:
        """As `Worker.ended` does, on whichever worker holds it."""
        process = self.holder(session)
        if process is None:
            return
        del process.held[session]
        assert sessions.close(session, reason) == (session == self.open)
        if session == self.open:
            self.open = None


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(900)
def test_an_agent_has_one_route_at_every_step():
    run_state_machine_as_test(
        OneRoute,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # steps that fail are told as they are: to find fewer takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
