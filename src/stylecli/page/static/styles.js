// The list of all styles, and a strip to choose one from.

import { askJson } from "./api.js";
import { $, clone } from "./ui.js";

export const styles = new EventTarget();
styles.list = [];

let last = "";

// Views are drawn again only if something has changed.
export async function loadStyles() {
  const answer = await askJson("/api/styles");
  const text = JSON.stringify(answer);
  if (text === last) return;
  last = text;
  styles.list = answer.styles;
  styles.default = answer.default;
  styles.dispatchEvent(new Event("change"));
}

export const findStyle = (id) => styles.list.find((style) => style.id === id);

export const paintingOf = (id) => `/api/styles/${encodeURIComponent(id)}/painting`;

// The chosen painting, with its painter.
export function showChosen(style) {
  const images = document.querySelectorAll("#look img, #paint .backdrop, #camera .backdrop");
  for (const image of images) image.src = paintingOf(style.id);
  $("title").textContent = style.title;
  $("painter").textContent = [style.painter, style.year].filter(Boolean).join(", ") || "Your own";
}

// A group of radio buttons, one for each style; what is chosen stays so when the list changes.
export class Strip {
  constructor(choose) {
    this.choose = choose;
    this.tiles = new Map();
    this.row = document.createElement("div");
    $("strip").append(this.row);
    this.row.onchange = ({ target }) => this.select(target.value);
    styles.addEventListener("change", () => this.fill());
    new ResizeObserver(() => this.reveal()).observe(this.row);
  }

  fill() {
    for (const [id, tile] of this.tiles) {
      if (!findStyle(id)) {
        tile.remove();
        this.tiles.delete(id);
      }
    }
    for (const style of styles.list) {
      if (!this.tiles.has(style.id)) this.add(style.id);
      this.tiles.get(style.id).querySelector(".name").textContent = style.title;
    }
    this.select(findStyle(this.chosen) ? this.chosen : styles.default);
  }

  add(id) {
    const tile = clone("tile");
    const input = tile.querySelector("input");
    input.name = "style";
    input.value = id;
    tile.querySelector(".painting").src = paintingOf(id);
    this.row.append(tile);
    this.tiles.set(id, tile);
  }

  select(id) {
    this.chosen = id;
    const tile = this.tiles.get(id);
    tile.querySelector("input").checked = true;
    this.reveal();
    this.choose(findStyle(id));
  }

  // Scrolls the strip, and not the page, to the chosen tile.
  reveal() {
    const [row, tile] = [this.row, this.tiles.get(this.chosen)];
    if (tile) row.scrollLeft = tile.offsetLeft - row.offsetLeft - (row.clientWidth - tile.clientWidth) / 2;
  }

  // Shows a small picture in place of the painting, which moves to the corner.
  show(id, url) {
    const tile = this.tiles.get(id);
    tile?.classList.toggle("painted", Boolean(url));
    if (tile && url) tile.querySelector(".small").src = url;
  }
}
