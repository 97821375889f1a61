# The environment of environment.yml with the pipeline in it. Not built in CI: docs/cluster.md.
#   docker build -t sign-ablate .
#   docker run --rm --user $(id -u):$(id -g) -v $PWD:/work sign-ablate          # the campaign in ./config.yaml
#   apptainer build sign-ablate.sif docker-daemon://sign-ablate:latest          # where there is no Docker
FROM mambaorg/micromamba:2.3.0

# gcc compiles the fused step on a CPU on first use, and is needed for execution.compile.
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

COPY environment.yml /tmp/environment.yml
RUN micromamba install --yes --name base --file /tmp/environment.yml \
    && micromamba clean --all --yes
ENV PATH=/opt/conda/bin:$PATH

COPY Snakefile claims.yaml config.yaml environment.yml pyproject.toml /opt/sign-ablate/
COPY notebooks /opt/sign-ablate/notebooks
COPY profiles /opt/sign-ablate/profiles
COPY sign_ablate /opt/sign-ablate/sign_ablate
COPY workflow /opt/sign-ablate/workflow

# Any user may run it: caches go to a folder that all can write.
ENV PYTHONPATH=/opt/sign-ablate XDG_CACHE_HOME=/tmp/cache HOME=/tmp
USER $MAMBA_USER
WORKDIR /work
CMD ["snakemake", "--snakefile", "/opt/sign-ablate/Snakefile", "--cores", "all"]
