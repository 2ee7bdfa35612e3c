# Palmette's server: docker build -t palmette . && docker run -e PALMETTE_API_KEY=… -p 127.0.0.1:8040:8040 palmette
FROM python:3.13-slim
RUN useradd --create-home --uid 1000 palmette
COPY . /src
RUN pip install --no-cache-dir '/src[serve,chat]' && rm -rf /src
USER palmette
WORKDIR /home/palmette
EXPOSE 8040
ENTRYPOINT ["palmette"]
CMD ["serve", "zoo:seedling", "--host", "0.0.0.0", "--port", "8040"]
