"""Files of a view, and the parameters of the rules that make them."""


def products(view):
    """Tables, figures and report of a view: "" for all runs, "partial/" for the runs finished so far."""
    names = [
        *TABLES,
        "claims.parquet",
        "explore.html",
        "report.html",
        *(f"table1.{kind}" for kind in ("md", "tex", "csv")),
    ]
    for figure in CAMPAIGN.figures:
        names += [f"figures/{figure}.{kind}" for kind in ("svg", "pdf", "png")]
    return [f"{RESULTS}/{view}{name}" for name in names] + tuning_figures(view)


def tuning_figures(view, kinds=("svg", "pdf", "png")):
    """Figures of the search, two per data set. None before the choice, or in a campaign that does not tune."""
    if CAMPAIGN.tuning is None or PENDING:
        return []
    return [
        f"{RESULTS}/{view}figures/tuning-{dataset}{suffix}.{kind}"
        for dataset in CAMPAIGN.datasets
        for suffix in ("", "-lr")
        for kind in kinds
    ]


def metrics_of(wildcards):
    """`metrics.parquet` of the runs of a view."""
    if wildcards.view:
        return [path for path in METRICS if os.path.exists(path)]
    return METRICS


def notebook_file(notebook):
    """Path of a notebook. Parameters with it take `output`, so that Snakemake does not compare them."""
    return os.path.join(NOTEBOOKS, f"{notebook}.ipynb")


def drawn_by(notebook):
    """Fingerprints of the code behind a notebook's outputs. They change with the code, not with comments."""
    path = pathlib.Path(notebook_file(notebook))
    return [fingerprint.of_analysis(), fingerprint.of_files([path])]


def figure_arguments(name):
    """Parameters of a figure's notebook that are specific to its kind."""
    words = []
    for key, value in CAMPAIGN.figures[name].parameters().items():
        words += ["-n" if isinstance(value, int) else "-p", f"{key}={value}"]
    return shlex.join(words)


def content_of(path):
    """SHA-256 of a file, or an empty text if it does not exist."""
    if not os.path.exists(path):
        return ""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
