# Stands in for the official image: Debian's Prometheus, with that image's paths and user.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends prometheus
RUN install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
