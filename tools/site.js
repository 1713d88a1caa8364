// Search without a server: every word asked for must occur; a section's own number comes before everything else.
"use strict";
const entries = JSON.parse(document.getElementById("entries").textContent);
const box = document.getElementById("q");
const list = document.getElementById("found");
const status = document.getElementById("status");
const MOST = 60;

function rate(entry, asked, words) {
  const title = entry.title.toLowerCase();
  if (entry.keys.includes(asked)) return 100;
  if (entry.keys.some((key) => key.startsWith(asked + "."))) return 80;
  if (title === asked && entry.kind === "glossary") return 70;
  if (title.includes(asked)) return 60;
  if (words.every((word) => title.includes(word))) return 40;
  const text = (title + " " + entry.text).toLowerCase();
  if (/^[\d.]+$/.test(asked)) return 0; // a bare number is a section, not a number in some sentence
  if (text.includes(asked)) return 20;
  return words.every((word) => text.includes(word)) ? 10 : 0;
}

function excerpt(text, words) {
  const at = Math.max(0, ...words.map((word) => text.toLowerCase().indexOf(word)));
  const start = at > 60 ? text.indexOf(" ", at - 60) + 1 : 0;
  return (start ? "… " : "") + text.slice(start, start + 190) + (text.length > start + 190 ? " …" : "");
}

function link(label, address) {
  const a = document.createElement("a");
  a.href = address;
  a.textContent = label;
  return a;
}

function show(entry, words) {
  const item = document.createElement("li");
  item.append(link(entry.title, entry.url));
  const kind = document.createElement("span");
  kind.className = "kind";
  kind.textContent = entry.kind;
  item.append(kind);
  const more = document.createElement("p");
  if (entry.links.length) entry.links.forEach(([label, address]) => more.append(link(label, address), " "));
  else more.textContent = excerpt(entry.text, words);
  if (more.textContent) item.append(more);
  return item;
}

function search() {
  const asked = box.value.trim().toLowerCase().replace(/^§\s*/, "").replace(/\s+/g, " ");
  const words = asked.split(" ");
  const rated = asked ? entries.map((entry, place) => [rate(entry, asked, words), place, entry]).filter(([score]) => score) : [];
  rated.sort((one, other) => other[0] - one[0] || one[1] - other[1]);
  list.replaceChildren(...rated.slice(0, MOST).map(([, , entry]) => show(entry, words)));
  const left = rated.length > MOST ? `, the first ${MOST} are shown` : "";
  status.textContent = asked ? `${rated.length} found${left}` : "";
}

box.addEventListener("input", search);
box.form.addEventListener("submit", (event) => event.preventDefault());
box.value = new URLSearchParams(location.search).get("q") || "";
search();
