// The start of the script: reads what the server has left for it, and wires the parts together. Without it the page
// is whole as well, and loads itself again as a whole.

import { translate } from "./locale.js";
import { keepLive } from "./live.js";
import { readOut } from "./readout.js";
import { keepView } from "./view.js";

const page = JSON.parse(document.getElementById("page").textContent);

translate(document);
readOut(page);
const live = keepLive(page, () => view.again());
const view = keepView(page, live);
live.start();
