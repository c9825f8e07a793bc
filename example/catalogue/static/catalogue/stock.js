"use strict";

// Shows the stock of books as it changes, and comes back after a random pause when the server is replaced.
function watch() {
  const url = new URL("/live/stock", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.onmessage = (message) => {
    const { book, stock } = JSON.parse(message.data);
    for (const element of document.querySelectorAll(`[data-stock-of="${book}"]`)) {
      element.textContent = stock;
    }
  };
  socket.onclose = () => setTimeout(watch, 1000 + 4000 * Math.random());
}

watch();
