export { runHttp } from './main.js';
export { description } from './routes.js';
