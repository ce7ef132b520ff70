# The two commands of README.md in a container:
#
#   docker build -t gensar-benchmark .
#   docker run --rm -v "$PWD/mine:/suite/mine" gensar-benchmark \
#       make benchmark BENCHMARK_ARGS="--results mine"
#   docker run --rm gensar-benchmark make test
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /suite
COPY . .
RUN make install
CMD ["make", "benchmark"]
