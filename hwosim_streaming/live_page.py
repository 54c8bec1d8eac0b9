"""The page of the live stream: its HTML and the script that keeps it up to date.

Holds: :func:`live_page` and :data:`SCRIPT`. Keep out what is shown (``live``) and serving it (``report_server``).
"""

from __future__ import annotations

from hwosim_assets.quality import markup

__all__ = ["SCRIPT", "live_page"]

#: One event a second brings all numbers; the picture is fetched when its number says that it is another one.
SCRIPT = """
"use strict";
const put = (id, text) => { document.getElementById(id).textContent = text; };
const rows = (id, lines) => {
  const body = document.getElementById(id);
  body.replaceChildren(...lines.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
};
let shown = 0;
new EventSource("/live/events").onmessage = (event) => {
  const now = JSON.parse(event.data);
  put("totals", `${now.messages} messages, ${(now.bytes / 1e6).toFixed(2)} MB; ` +
    `${now.messages_per_s.toFixed(1)} messages and ${(now.bytes_per_s / 1e6).toFixed(3)} MB per second`);
  put("faults", `${now.missing} missing, ${now.faults.duplicate} duplicates, ${now.faults.damaged} damaged`);
  put("trouble", now.trouble);
  if (now.picture !== shown) {
    shown = now.picture;
    const image = document.getElementById("picture");
    image.src = `/live/picture.png?${shown}`;
    image.alt = now.caption;
    put("caption", now.caption);
  }
  rows("keys", Object.entries(now.by_key).map(([key, count]) => [key, String(count)]));
  rows("groups", Object.entries(now.lag).map(([group, behind]) => [group, String(behind)]));
  rows("latest", now.latest.map((message) =>
    [message.topic, message.key, message.subject, String(message.size), message.fault, message.message_id]));
};
"""


def live_page() -> str:
    """Return the page, empty; its script fills it."""
    return markup.document(
        "The live stream",
        markup.block("h1", "The live stream"),
        markup.block("p", "Waiting for the stream.", id="totals"),
        markup.block("p", id="faults"),
        markup.block("p", id="trouble", class_="failed"),
        markup.block("h2", "Newest frame"),
        markup.block("p", markup.block("img", id="picture", alt="no frame yet", width="432")),
        markup.block("p", "No frame has come since this page is watched.", id="caption"),
        markup.block("h2", "Messages by detector"),
        _empty_table("keys", ("key", "messages")),
        markup.block("h2", "Readers' groups"),
        _empty_table("groups", ("group", "messages behind")),
        markup.block("h2", "Latest"),
        _empty_table("latest", ("topic", "key", "product", "bytes", "fault", "message id")),
        markup.link("/", "All programs"),
        script="/live.js",
    )


def _empty_table(name: str, columns: tuple[str, ...]) -> markup.Markup:
    head = markup.block("tr", *(markup.block("th", column, scope="col") for column in columns))
    body = markup.block("tbody", id=name)
    return markup.block("div", markup.block("table", markup.block("thead", head), body), class_="scroll")
