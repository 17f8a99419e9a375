# Stands in for the official image: the npm packages of Node.js and npm, on Debian.
FROM debian:bookworm-slim
COPY local /usr/local
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
CMD ["node"]
