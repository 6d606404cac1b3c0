"""What the driver has decided about a job, on disk: reminders, the appointment, and the consents. Tables of the gateway's database.

A decision is written before its consequence is shown, so a gateway that is killed in between goes on with it. Tables of their own: a
database of an earlier version gets them at its next start.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from otabench.bench.gateway.jobs.appointments import Appointment
from otabench.proto.consent import Question


class _Base(DeclarativeBase):
    pass


class _DriverRow(_Base):
    __tablename__ = "driver"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    reminders: Mapped[int] = mapped_column(default=0)
    start_from: Mapped[float | None]
    """Seconds since 1970, UTC, as all times on disk."""
    start_by: Mapped[float | None]
    question: Mapped[str] = mapped_column(default="")
    """Which consent the appointment belongs to: an appointment for the download must not start the installation."""


class _ConsentRow(_Base):
    __tablename__ = "consents"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    question: Mapped[str] = mapped_column(primary_key=True)
    envelope: Mapped[bytes]


class DriverRecords:
    """The driver's decisions. Only the event loop's thread uses it; every call is one short transaction.

    Args:
        engine: the gateway's database (``Store.engine``).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _Base.metadata.create_all(engine)

    def reminders(self, job_id: str) -> int:
        """Return how often the driver has chosen Later."""
        with Session(self._engine) as session:
            row = session.get(_DriverRow, job_id)
            return 0 if row is None else row.reminders

    def count_reminder(self, job_id: str, question: Question) -> None:
        """Count one Later, and withdraw the consent to a question with its appointment."""
        with Session(self._engine) as session, session.begin():
            _row(session, job_id).reminders += 1
            _withdraw(session, job_id, question)

    def appointment(self, job_id: str, question: Question) -> Appointment | None:
        """Return when what the question is about is to begin; None: there is no appointment."""
        with Session(self._engine) as session:
            row = session.get(_DriverRow, job_id)
            if row is None or row.start_from is None or row.start_by is None or row.question != question:
                return None
            return Appointment(datetime.fromtimestamp(row.start_from, UTC), datetime.fromtimestamp(row.start_by, UTC))

    def withdraw(self, job_id: str, question: Question) -> None:
        """Remove the consent to a question, and its appointment."""
        with Session(self._engine) as session, session.begin():
            _withdraw(session, job_id, question)

    def keep(self, job_id: str, question: Question, envelope: bytes, appointment: Appointment | None) -> None:
        """Write a consent, together with its appointment."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, job_id)
            row.start_from = None if appointment is None else appointment.start_from.timestamp()
            row.start_by = None if appointment is None else appointment.start_by.timestamp()
            row.question = question
            session.merge(_ConsentRow(job_id=job_id, question=question, envelope=envelope))

    def consent(self, job_id: str, question: Question) -> bytes | None:
        """Return the signed consent to a question; None: there is none."""
        with Session(self._engine) as session:
            row = session.get(_ConsentRow, (job_id, question))
            return None if row is None else row.envelope


def _row(session: Session, job_id: str) -> _DriverRow:
    row = session.get(_DriverRow, job_id)
    if row is None:
        row = _DriverRow(job_id=job_id, reminders=0, question="")
        session.add(row)
    return row


def _withdraw(session: Session, job_id: str, question: Question) -> None:
    row = _row(session, job_id)
    row.start_from = row.start_by = None
    consent = session.get(_ConsentRow, (job_id, question))
    if consent is not None:
        session.delete(consent)
