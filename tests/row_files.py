"""Results files of table rows with invented scores, for tests."""

from calbook import results
from calbook.experiments.running import jobs_of, settings_of


def write_rows(folder, table, scores, *also):
    """Results files of some networks: ``{name at the preset: AP of seeds 0, 1, ...}``."""
    for job in jobs_of(table, "smoke", range(12)):
        values = scores.get(job.experiment.name, [])
        if job.seed < len(values):
            results.write(
                job.file(folder),
                experiment="table row",
                settings=settings_of(job),
                figures={"evaluations": {name: {"AP": values[job.seed]} for name in ("val2017", *also)}},
                seconds=1.0,
                command=job.command,
            )
