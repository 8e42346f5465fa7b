-- Run once, on the coordinator. The tenant's key is in every primary key and foreign key.
CREATE TABLE plans (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE companies (id bigint PRIMARY KEY, name text NOT NULL, plan int NOT NULL DEFAULT 1);
CREATE TABLE users (
    company_id bigint NOT NULL,
    id bigint NOT NULL,
    email text NOT NULL,
    PRIMARY KEY (company_id, id),
    FOREIGN KEY (company_id) REFERENCES companies (id)
);
CREATE TABLE invoices (
    company_id bigint NOT NULL,
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    cents bigint NOT NULL,
    PRIMARY KEY (company_id, id),
    FOREIGN KEY (company_id, user_id) REFERENCES users (company_id, id)
);
INSERT INTO plans VALUES (1, 'free'), (2, 'team');
