"""Inputs, order and commands of the jobs that make data files and runs."""


def data_of(wildcards):
    """Data file of a run. A finished run does not need it, unless this call names or forces the run.

    In a cluster's job, waits while another job is training the run.

    The file is always an input, because Snakemake trains again if the names of inputs change. For a finished
    run it is marked `ancient`, because its name identifies its content and its time is irrelevant, and
    `before_update`, so that no job makes it. Otherwise, making a data file for one run would train all other
    runs on it again.
    """
    lock_runs_of_job()
    run = str(layout.metrics_file(layout.RESULTS, wildcards.run))
    data = str(layout.data_file(layout.RESULTS, RUNS[wildcards.run].data_id))
    if not os.path.exists(run):
        return data
    if is_forced(run, "train"):
        return data  # not `ancient`: Snakemake would skip the run if the data are forced as well
    named = run in workflow.dag_settings.targets
    return ancient(data if named else before_update(data))


def images_of(wildcards):
    """Check that the images of a data set exist, or exit with a message. Returns no input files."""
    if not layout.data_file(layout.RESULTS, wildcards.data).exists():
        try:
            location.check(DATA[wildcards.data])
        except DataError as error:
            logger.error(f"{wildcards.data}: {error}")
            sys.exit(1)
    return []


def priority_of(run):
    """Priority of a run: trials first, then seed by seed."""
    return 1 if run.trial is not None else -CAMPAIGN.seeds.index(run.config.seed)


def niceness_of(run):
    """Option of sbatch that orders the queue, since SLURM ignores Snakemake's priorities.

    None in groups of runs, where all jobs need the same value.
    """
    if "train" in workflow.group_settings.overwrite_groups:
        return None
    return f"--nice={100 * max(0, -priority_of(run))}"


def ranks_of(run):
    """Number of processes that train a run."""
    return CAMPAIGN.execution.ranks(run.config.train.workers)


def prepare_command(wildcards, output):
    """Command that makes a data file. Snakemake does not compare it (see `train_command`)."""
    data = DATA[wildcards.data]
    return command(
        "prepare",
        spec=identity(data.without_location()),
        location=json.dumps(data.location()),
        out=output[0],
        replaces=replaced(output[0], "prepare"),
    )


def train_command(wildcards, input, output):
    """Command that trains a run.

    Snakemake does not compare parameters whose functions take `input` or `output`. Only a changed `spec`
    therefore trains a run again; changes of the execution or of this command do not.
    """
    execution, run = CAMPAIGN.execution, RUNS[wildcards.run]
    options = {
        "spec": run.spec,
        "data": input.data,
        "out": os.path.dirname(output[0]),
        "device": JOB_DEVICE,
        "runs-per-gpu": execution.runs_per_gpu,
        "deterministic": int(execution.deterministic),
        "compile": execution.compile,
        # Not the rule's threads, which --cores limits: their number can change the last bit of a result.
        "threads": execution.threads,
        "ranks": ranks_of(run),
        "rank-timeout-seconds": execution.rank_timeout_seconds,
        "checkpoint-seconds": execution.checkpoint_seconds,
        "replaces": replaced(output[0], "train"),
    }
    return f"OMP_NUM_THREADS={execution.threads} {command('train', **options)}"


def command(name, **options):
    """Format a command line of sign-ablate."""
    words = [
        f"--{option} {shlex.quote(str(value))}" for option, value in options.items()
    ]
    return " ".join([f"python -m sign_ablate {name}", *words])


def is_forced(path, rule):
    """Return True if this call forces an existing file to be made again."""
    call = workflow.dag_settings
    if not workflow.is_main_process:
        # A cluster's job, for which Snakemake forces every file. The user's call forces those older than itself.
        return os.stat(path).st_mtime_ns < int(environ.get(FORCED, sys.maxsize))
    targets = call.targets if call.forcetargets else []
    return call.forceall or not {path, rule}.isdisjoint({*call.forcerun, *targets})


def tell_forced():
    """Pass the time of this call (ns) to the Snakemake processes of cluster jobs if it forces files, else 0."""
    call = workflow.dag_settings
    forces = call.forceall or call.forcetargets or call.forcerun
    environ[FORCED] = str(time.time_ns() if forces else 0)


def replaced(path, rule):
    """Modification time (ns) of the file that a job replaces, or 0 if the job keeps a file that it finds.

    A file that a job finds was made by another Snakemake process after this one had checked.
    """
    if not os.path.exists(path) or not is_forced(path, rule):
        return 0
    return os.stat(path).st_mtime_ns
