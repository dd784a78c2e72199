"""What alembic runs: the revisions, inside the transaction of the connection it was handed."""

from alembic import context

from considerate.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
