"""What Alembic runs: `Database` upgrades to the newest revision in the transaction that it has open.

A new revision, from what the tables in database.py say now, against a database of the revision before:

    with Database("sqlite:////tmp/study.db").writing() as session:
        alembic.command.revision(alembic_config(session.connection()), "what changes", autogenerate=True)

Revisions only go forward: going back would drop what people said.
"""

from __future__ import annotations

from alembic import context

from webapp.study.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
