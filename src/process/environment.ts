/** How to find programs and libraries, which language and time hold, and what Node.js and the log are told. */
const FOR_ALL =
  /^(PATH|HOME|TMPDIR|TZ|LANG|LANGUAGE|LC_\w+|LD_LIBRARY_PATH|NODE_\w+|SSL_CERT_\w+|OPENSSL_CONF|BKV_LOG_LEVEL)$/;

/**
 * What of this process's environment a child may have that needs none of its secrets. Nothing else is passed on, because
 * a profile can name any variable for a PIN, and modules and databases read passwords from variables of their own.
 */
export const harmlessEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => FOR_ALL.test(name)));
